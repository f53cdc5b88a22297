//! Build attributes of 32-bit ARM programs (Arm ABI, "Addenda to, and Errata in, the ABI for the Arm Architecture").

use crate::source::Order;

/// What `.ARM.attributes` says that matters for a platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Architecture version that the code needs: 4 to 9.
    pub(crate) version: Option<u8>,
    /// Whether floating-point arguments go in floating-point registers.
    pub(crate) hard_float: bool,
}

/// Reads the section. What is not understood is skipped: it is a hint, and programs run without it.
pub(crate) fn attributes(section: &[u8], order: Order) -> Attributes {
    let mut found = Attributes::default();
    let Some((b'A', mut rest)) = section.split_first() else { return found };
    while let Some((vendor, tail)) = block(rest, 4, 0, order) {
        rest = tail;
        let Some(scopes) = vendor.strip_prefix(b"aeabi\0") else { continue };
        let mut scopes = scopes;
        // Tag and size of a scope; tag 1 is the whole file.
        while let Some((&tag, _)) = scopes.split_first() {
            let Some((scope, tail)) = block(scopes, 5, 1, order) else { break };
            scopes = tail;
            if tag == 1 {
                read_file_scope(scope, &mut found);
            }
        }
    }
    found
}

/// Splits off a block whose header of `header` bytes holds its whole length at `at`.
fn block(bytes: &[u8], header: usize, at: usize, order: Order) -> Option<(&[u8], &[u8])> {
    if bytes.len() < header {
        return None;
    }
    let length = usize::try_from(order.u32(bytes, at)).ok().filter(|&length| length >= header)?;
    let (block, tail) = bytes.split_at_checked(length)?;
    Some((&block[header..], tail))
}

fn read_file_scope(mut bytes: &[u8], found: &mut Attributes) {
    while let Some((tag, rest)) = number(bytes) {
        // Tags of texts: 4, 5 and, from 32 on, the odd ones; 32 itself is a number and a text.
        let is_text = matches!(tag, 4 | 5) || (tag > 32 && tag % 2 == 1);
        let rest = if is_text {
            rest
        } else {
            let Some((value, rest)) = number(rest) else { return };
            match tag {
                6 => found.version = architecture(value),
                28 => found.hard_float = value == 1,
                _ => {}
            }
            rest
        };
        bytes = if is_text || tag == 32 {
            let Some(end) = rest.iter().position(|&b| b == 0) else { return };
            &rest[end + 1..]
        } else {
            rest
        };
    }
}

/// `Tag_CPU_arch`.
fn architecture(value: u64) -> Option<u8> {
    match value {
        0..=2 => Some(4),
        3..=5 => Some(5),
        6..=9 | 11 | 12 => Some(6),
        10 | 13 => Some(7),
        14..=21 => Some(8),
        22 => Some(9),
        _ => None,
    }
}

/// A number in base 128, lowest digits first.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(attributes: &[u8]) -> Vec<u8> {
        let scope = u32::try_from(5 + attributes.len()).unwrap().to_le_bytes();
        let vendor = u32::try_from(4 + 6 + 5 + attributes.len()).unwrap().to_le_bytes();
        [&b"A"[..], &vendor, b"aeabi\0", &[1], &scope, attributes].concat()
    }

    #[test]
    fn the_architecture_and_the_float_abi_are_found() {
        for (attributes_, version, hard_float) in [
            (&b"\x06\x0a\x1c\x01"[..], Some(7), true),
            (b"\x05ARM1176JZF-S\0\x06\x07", Some(6), false),
            (b"\x20\x00gnu\0\x06\x04", Some(5), false),
            (b"\x43\x32.09\0\x06\x0e", Some(8), false),
            (b"\x06\x02", Some(4), false),
            (b"\x06\x16", Some(9), false),
            (b"\x06\x63", None, false),
            (b"", None, false),
        ] {
            let found = attributes(&section(attributes_), Order::Little);
            assert_eq!(found, Attributes { version, hard_float }, "{attributes_:?}");
        }
    }

    #[test]
    fn other_vendors_are_skipped() {
        let other = [&15_u32.to_le_bytes()[..], b"gnu\0\x01\x02\x03\x04\x05\x06\x07"].concat();
        let all = [b"A", &other[..], &section(b"\x06\x0a")[1..]].concat();
        assert_eq!(attributes(&all, Order::Little).version, Some(7));
    }

    #[test]
    fn broken_ones_say_nothing() {
        let whole = section(b"\x05x\0\x06\x0a");
        for end in 0..whole.len() {
            assert_eq!(attributes(&whole[..end], Order::Little), Attributes::default());
        }
        assert_eq!(attributes(&section(b"\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Order::Little).version, None);
        assert_eq!(attributes(&section(b"\x05never ends"), Order::Little).version, None);
    }
}
