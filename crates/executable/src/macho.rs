//! Mach-O: macOS and iOS, one architecture or several in one file (`mach-o/loader.h`, `mach-o/fat.h`).

use std::io::{Read, Seek};

use image::Platform;

use crate::source::{Order, Source, text};
use crate::{Executable, ExecutableError, Format, Kind};

/// Most architectures in one file. Java classes begin with the same four bytes, and their next number is at least 45.
const SLICES: u32 = 32;
/// Most bytes of load commands that are looked at.
const COMMANDS: u64 = 256 << 10;

/// Whether the first eight bytes are those of a file with several architectures.
pub(crate) fn is_fat(start: &[u8]) -> bool {
    matches!(Order::Big.u32(start, 0), 0xcafe_babe | 0xcafe_babf) && (1..=SLICES).contains(&Order::Big.u32(start, 4))
}

/// Byte order and width of a file with one architecture.
pub(crate) fn layout(start: &[u8]) -> Option<(Order, bool)> {
    match Order::Big.u32(start, 0) {
        0xfeed_face => Some((Order::Big, false)),
        0xfeed_facf => Some((Order::Big, true)),
        0xcefa_edfe => Some((Order::Little, false)),
        0xcffa_edfe => Some((Order::Little, true)),
        _ => None,
    }
}

pub(crate) fn parse_fat<R: Read + Seek>(source: &mut Source<R>) -> Result<Executable, ExecutableError> {
    let start = source.bytes(0, 8, "Mach-O header")?;
    let wide = Order::Big.u32(&start, 0) == 0xcafe_babf;
    let count = u64::from(Order::Big.u32(&start, 4).min(SLICES));
    let entry = if wide { 32 } else { 20 };
    let table = source.bytes(8, count * entry, "table of architectures")?;
    let mut whole: Option<Executable> = None;
    for raw in table.chunks_exact(if wide { 32 } else { 20 }) {
        let offset = if wide { Order::Big.u64(raw, 8) } else { Order::Big.u32(raw, 8).into() };
        let slice = parse_slice(source, offset)?;
        match &mut whole {
            None => whole = Some(slice),
            Some(whole) => {
                whole.platforms.extend(slice.platforms);
                whole.is_static &= slice.is_static;
                for library in slice.libraries {
                    if !whole.libraries.contains(&library) {
                        whole.libraries.push(library);
                    }
                }
            }
        }
    }
    whole.ok_or(ExecutableError::Malformed { format: Format::MachO, what: "it has no architectures" })
}

pub(crate) fn parse_slice<R: Read + Seek>(source: &mut Source<R>, start: u64) -> Result<Executable, ExecutableError> {
    let header = source.bytes(start, 28, "Mach-O header")?;
    let malformed = |what| ExecutableError::Malformed { format: Format::MachO, what };
    let (order, wide) = layout(&header).ok_or(malformed("one of its architectures is no Mach-O file"))?;
    let (cpu, subtype) = (order.u32(&header, 4), order.u32(&header, 8) & 0x00ff_ffff);
    let (architecture, variant) = match cpu {
        7 => ("386", ""),
        // Subtype "h" is made for Haswell and later.
        0x0100_0007 => ("amd64", if subtype == 8 { "v3" } else { "" }),
        12 => (
            "arm",
            if subtype == 6 {
                "v6"
            } else if subtype >= 9 {
                "v7"
            } else {
                "v5"
            },
        ),
        0x0100_000c => ("arm64", ""),
        18 => ("ppc", ""),
        0x0100_0012 => ("ppc64", ""),
        _ => return Err(ExecutableError::Machine { format: Format::MachO, machine: cpu }),
    };
    let kind = match order.u32(&header, 12) {
        2 => Kind::Program,
        6 | 8 => Kind::Library,
        1 => return Err(ExecutableError::NotAProgram { what: "an object file that was never linked" }),
        4 => return Err(ExecutableError::NotAProgram { what: "a core dump" }),
        _ => return Err(ExecutableError::NotAProgram { what: "a Mach-O file that is not run" }),
    };
    let mut found = Executable {
        format: Format::MachO,
        kind,
        platforms: vec![Platform { variant: variant.to_owned(), ..Platform::new("darwin", architecture) }],
        system_is_certain: true,
        interpreter: None,
        libraries: Vec::new(),
        is_static: false,
        traits: Vec::new(),
    };
    let commands_size = u64::from(order.u32(&header, 20)).min(COMMANDS);
    let commands_start = start.saturating_add(if wide { 32 } else { 28 });
    let commands = source.bytes(commands_start, commands_size, "load commands")?;
    let mut rest = commands.as_slice();
    for _ in 0..order.u32(&header, 16) {
        let size = usize::try_from(order.u32(rest, 4)).unwrap_or(usize::MAX);
        if size < 8 {
            break;
        }
        let Some((command, tail)) = rest.split_at_checked(size) else { break };
        rest = tail;
        read_command(command, order, &mut found);
    }
    found.is_static = found.interpreter.is_none() && found.libraries.is_empty();
    Ok(found)
}

fn read_command(command: &[u8], order: Order, found: &mut Executable) {
    let name = || {
        let at = usize::try_from(order.u32(command, 8)).unwrap_or(usize::MAX);
        text(command.get(at..).unwrap_or_default())
    };
    match order.u32(command, 0) {
        0x0e => found.interpreter = Some(name()).filter(|path| !path.is_empty()),
        // Needed, weak, re-exported, lazy and upward libraries.
        0x0c | 0x8000_0018 | 0x8000_001f | 0x20 | 0x8000_0023 => {
            let library = name();
            if !library.is_empty() && found.libraries.len() < 1024 && !found.libraries.contains(&library) {
                found.libraries.push(library);
            }
        }
        0x25 => set_system(found, "ios"),
        // The build version names the system it was built for: 1 is macOS, 2 and 7 are iOS and its simulator.
        0x32 if matches!(order.u32(command, 8), 2 | 7) => set_system(found, "ios"),
        _ => {}
    }
}

fn set_system(found: &mut Executable, os: &str) {
    for platform in &mut found.platforms {
        os.clone_into(&mut platform.os);
    }
}
