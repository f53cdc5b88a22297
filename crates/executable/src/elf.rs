//! ELF: Linux, the BSDs, Solaris and Android (System V ABI, "Object Files" and "Program Loading and Dynamic Linking").

use std::io::{Read, Seek};

use image::Platform;

use crate::arm;
use crate::source::{Order, Source, text};
use crate::{Executable, ExecutableError, Format, Kind};

/// Most program or section headers that are looked at.
const HEADERS: u64 = 4096;
/// Longest note, dynamic table or attribute section that is looked at, in bytes.
const TABLE: u64 = 1 << 20;

/// The fields of the file header that matter.
struct Header {
    order: Order,
    wide: bool,
    abi: u8,
    kind: u16,
    machine: u16,
    flags: u32,
    programs: Table,
    sections: Table,
}

/// Where a table of headers is.
struct Table {
    offset: u64,
    entry: u64,
    count: u64,
}

/// A piece of the file and where it is in memory.
#[derive(Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
    align: u64,
}

/// What the dynamic table says.
#[derive(Default)]
struct Dynamic {
    libraries: Vec<String>,
    is_position_independent_program: bool,
    has_name: bool,
}

pub(crate) fn parse<R: Read + Seek>(source: &mut Source<R>) -> Result<Executable, ExecutableError> {
    let header = header(source)?;
    match header.kind {
        2 | 3 => {}
        1 => return Err(ExecutableError::NotAProgram { what: "an object file that was never linked" }),
        4 => return Err(ExecutableError::NotAProgram { what: "a core dump" }),
        _ => return Err(ExecutableError::Malformed { format: Format::Elf, what: "its type is unknown" }),
    }
    let (architecture, mut traits) = architecture(&header)?;
    let segments = segments(source, &header)?;
    let mut platform = Platform::new("linux", architecture);

    let interpreter = match segments.iter().find(|segment| segment.kind == 3) {
        Some(segment) => {
            Some(source.text(segment.offset, segment.size, "interpreter")?).filter(|path| !path.is_empty())
        }
        None => None,
    };
    let dynamic = dynamic(source, &header, &segments)?;
    let notes = notes(source, &header, &segments)?;
    let system = match (header.abi, notes.system, interpreter.as_deref()) {
        (2, _, _) => Some("netbsd"),
        (3, _, _) => Some("linux"),
        (6, _, _) => Some("solaris"),
        (9, _, _) => Some("freebsd"),
        (12, _, _) => Some("openbsd"),
        (_, Some(system), _) => Some(system),
        (_, None, Some(path)) => system_of_interpreter(path),
        _ => None,
    };
    system.unwrap_or("linux").clone_into(&mut platform.os);
    if architecture == "amd64" && notes.x86_level > 1 {
        platform.variant = format!("v{}", notes.x86_level);
    }
    if header.machine == 40 {
        let attributes = arm_attributes(source, &header)?;
        if let Some(version) = attributes.version {
            platform.variant = format!("v{}", version.min(8));
        }
        // The flag is young and the linkers of Go and others set neither.
        if attributes.hard_float || header.flags & 0x400 != 0 {
            traits.push("hard float");
        } else if header.flags & 0x200 != 0 {
            traits.push("soft float");
        }
    }
    // A program that is linked to libraries names who is to load it; a static one that may stand anywhere says so.
    let library = dynamic.has_name || !dynamic.libraries.is_empty();
    let program = header.kind == 2 || interpreter.is_some() || dynamic.is_position_independent_program || !library;
    Ok(Executable {
        format: Format::Elf,
        kind: if program { Kind::Program } else { Kind::Library },
        is_static: interpreter.is_none() && dynamic.libraries.is_empty(),
        platforms: vec![platform],
        system_is_certain: system.is_some(),
        interpreter,
        libraries: dynamic.libraries,
        traits,
    })
}

fn header<R: Read + Seek>(source: &mut Source<R>) -> Result<Header, ExecutableError> {
    let malformed = |what| ExecutableError::Malformed { format: Format::Elf, what };
    let identity = source.bytes(0, 16, "ELF header")?;
    let wide = match identity[4] {
        1 => false,
        2 => true,
        _ => return Err(malformed("its class is neither 32 nor 64 bits")),
    };
    let order = match identity[5] {
        1 => Order::Little,
        2 => Order::Big,
        _ => return Err(malformed("its byte order is unknown")),
    };
    let bytes = source.bytes(0, if wide { 64 } else { 52 }, "ELF header")?;
    let (program_offset, section_offset, rest) = if wide {
        (order.u64(&bytes, 32), order.u64(&bytes, 40), 48)
    } else {
        (order.u32(&bytes, 28).into(), order.u32(&bytes, 32).into(), 36)
    };
    let number = |at: usize| u64::from(order.u16(&bytes, rest + at));
    let header = Header {
        order,
        wide,
        abi: identity[7],
        kind: order.u16(&bytes, 16),
        machine: order.u16(&bytes, 18),
        flags: order.u32(&bytes, rest),
        programs: Table { offset: program_offset, entry: number(6), count: number(8).min(HEADERS) },
        sections: Table { offset: section_offset, entry: number(10), count: number(12).min(HEADERS) },
    };
    let (program, section) = if wide { (56, 64) } else { (32, 40) };
    if header.programs.count > 0 && header.programs.entry < program {
        return Err(malformed("its program headers are too short"));
    }
    if header.sections.count > 0 && header.sections.entry < section {
        return Err(malformed("its section headers are too short"));
    }
    Ok(header)
}

/// Go's name of the architecture, and what else the flags tell.
fn architecture(header: &Header) -> Result<(&'static str, Vec<&'static str>), ExecutableError> {
    let big = header.order == Order::Big;
    let mut traits = Vec::new();
    let name = match (header.machine, header.wide, big) {
        (3 | 6, false, false) => "386",
        (62, true, false) => "amd64",
        // 64-bit instructions, 32-bit pointers: "x32".
        (62, false, false) => "amd64p32",
        (40, false, false) => "arm",
        (40, false, true) => "armbe",
        (183, true, false) => "arm64",
        (183, true, true) => "arm64be",
        (243, wide, false) => {
            traits.extend(riscv_traits(header.flags));
            if wide { "riscv64" } else { "riscv" }
        }
        (8 | 10, wide, big) => {
            traits.extend(mips_traits(header.flags));
            // ABI "n32": a 64-bit CPU with 32-bit pointers.
            match (wide, header.flags & 0x20 != 0, big) {
                (true, _, true) => "mips64",
                (true, _, false) => "mips64le",
                (false, true, true) => "mips64p32",
                (false, true, false) => "mips64p32le",
                (false, false, true) => "mips",
                (false, false, false) => "mipsle",
            }
        }
        (20, false, true) => "ppc",
        (21, true, true) => "ppc64",
        (21, true, false) => "ppc64le",
        (22, true, true) => "s390x",
        (22, false, true) => "s390",
        (2 | 18, false, true) => "sparc",
        (43, true, true) => "sparc64",
        (258, true, false) => "loong64",
        (machine, ..) => return Err(ExecutableError::Machine { format: Format::Elf, machine: machine.into() }),
    };
    Ok((name, traits))
}

fn riscv_traits(flags: u32) -> Vec<&'static str> {
    let float = match flags & 6 {
        0 => "soft float",
        2 => "single float",
        4 => "double float",
        _ => "quad float",
    };
    let mut traits = vec![float];
    if flags & 1 != 0 {
        traits.push("compressed instructions");
    }
    if flags & 8 != 0 {
        traits.push("embedded base");
    }
    traits
}

fn mips_traits(flags: u32) -> Vec<&'static str> {
    let mut traits = Vec::new();
    if matches!(flags >> 28, 9 | 10) {
        traits.push("release 6");
    }
    if flags & 0x400 != 0 {
        traits.push("NaN as in IEEE 754-2008");
    }
    traits
}

fn segments<R: Read + Seek>(source: &mut Source<R>, header: &Header) -> Result<Vec<Segment>, ExecutableError> {
    let Table { offset, entry, count } = header.programs;
    if count == 0 {
        return Ok(Vec::new());
    }
    let bytes = source.bytes(offset, entry.saturating_mul(count), "ELF program headers")?;
    let order = header.order;
    let read = |raw: &[u8]| {
        if header.wide {
            Segment {
                kind: order.u32(raw, 0),
                offset: order.u64(raw, 8),
                address: order.u64(raw, 16),
                size: order.u64(raw, 32),
                align: order.u64(raw, 48),
            }
        } else {
            Segment {
                kind: order.u32(raw, 0),
                offset: order.u32(raw, 4).into(),
                address: order.u32(raw, 8).into(),
                size: order.u32(raw, 16).into(),
                align: order.u32(raw, 28).into(),
            }
        }
    };
    let entry = usize::try_from(entry).unwrap_or(usize::MAX);
    Ok(bytes.chunks_exact(entry).map(read).collect())
}

fn dynamic<R: Read + Seek>(
    source: &mut Source<R>,
    header: &Header,
    segments: &[Segment],
) -> Result<Dynamic, ExecutableError> {
    let mut found = Dynamic::default();
    let Some(segment) = segments.iter().find(|segment| segment.kind == 2) else { return Ok(found) };
    let bytes = source.some(segment.offset, segment.size.min(TABLE), "ELF dynamic table")?;
    let word = if header.wide { 8 } else { 4 };
    let number =
        |raw: &[u8], at| if header.wide { header.order.u64(raw, at) } else { header.order.u32(raw, at).into() };
    let mut texts = None;
    let mut texts_size = u64::MAX;
    let mut needed = Vec::new();
    for raw in bytes.chunks_exact(2 * word) {
        let value = number(raw, word);
        match number(raw, 0) {
            0 => break,
            1 if needed.len() < 1024 => needed.push(value),
            5 => texts = Some(value),
            10 => texts_size = value,
            14 => found.has_name = true,
            0x6fff_fffb => found.is_position_independent_program = value & 0x0800_0000 != 0,
            _ => {}
        }
    }
    let Some(texts) = texts.and_then(|address| file_offset(segments, address)) else { return Ok(found) };
    for name in needed {
        let Some(left) = texts_size.checked_sub(name) else { continue };
        let library = source.text(texts.saturating_add(name), left, "name of a library")?;
        if !library.is_empty() && !found.libraries.contains(&library) {
            found.libraries.push(library);
        }
    }
    Ok(found)
}

/// Where in the file the byte is that will be at `address`.
fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    let loaded = |segment: &&Segment| {
        segment.kind == 1 && address.checked_sub(segment.address).is_some_and(|at| at < segment.size)
    };
    let segment = segments.iter().find(loaded)?;
    segment.offset.checked_add(address - segment.address)
}

#[derive(Default)]
struct Notes {
    system: Option<&'static str>,
    /// Level of x86-64 that is needed: 1 to 4; 0 if nothing is said.
    x86_level: u32,
}

fn notes<R: Read + Seek>(
    source: &mut Source<R>,
    header: &Header,
    segments: &[Segment],
) -> Result<Notes, ExecutableError> {
    let mut found = Notes::default();
    for segment in segments.iter().filter(|segment| segment.kind == 4).take(16) {
        let bytes = source.some(segment.offset, segment.size.min(TABLE), "ELF notes")?;
        let align = if segment.align == 8 { 8 } else { 4 };
        let mut rest = bytes.as_slice();
        while rest.len() >= 12 {
            let size = |at| usize::try_from(header.order.u32(rest, at)).unwrap_or(usize::MAX);
            let (name_size, content_size, kind) = (size(0), size(4), header.order.u32(rest, 8));
            let Some(content_at) = 12_usize.checked_add(name_size).and_then(|end| end.checked_next_multiple_of(align))
            else {
                break;
            };
            let Some(end) = content_at.checked_add(content_size) else { break };
            let (Some(name), Some(content)) = (rest.get(12..12 + name_size), rest.get(content_at..end)) else { break };
            match (text(name).as_str(), kind) {
                ("FreeBSD", _) => found.system = Some("freebsd"),
                ("NetBSD", _) => found.system = Some("netbsd"),
                ("OpenBSD", _) => found.system = Some("openbsd"),
                ("DragonFly", _) => found.system = Some("dragonfly"),
                ("Android", _) => found.system = Some("android"),
                ("GNU", 1) => {
                    found.system = match header.order.u32(content, 0) {
                        0 => Some("linux"),
                        1 => Some("hurd"),
                        2 => Some("solaris"),
                        3 => Some("freebsd"),
                        _ => found.system,
                    }
                }
                ("GNU", 5) => found.x86_level = found.x86_level.max(x86_level(content, header)),
                _ => {}
            }
            rest = rest.get(end.next_multiple_of(align)..).unwrap_or_default();
        }
    }
    Ok(found)
}

/// The level of x86-64 that the program says it needs (x86-64 psABI, `GNU_PROPERTY_X86_ISA_1_NEEDED`).
fn x86_level(mut properties: &[u8], header: &Header) -> u32 {
    while properties.len() >= 8 {
        let (kind, size) = (header.order.u32(properties, 0), header.order.u32(properties, 4));
        if kind == 0xc000_8002 && size == 4 {
            return (header.order.u32(properties, 8) & 0xf).checked_ilog2().map_or(0, |bit| bit + 1);
        }
        let align = if header.wide { 8 } else { 4 };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some(end) = size.checked_add(8).and_then(|end| end.checked_next_multiple_of(align)) else { return 0 };
        properties = properties.get(end..).unwrap_or_default();
    }
    0
}

fn system_of_interpreter(path: &str) -> Option<&'static str> {
    match path {
        "/libexec/ld-elf.so.1" => Some("freebsd"),
        "/usr/libexec/ld.elf_so" | "/libexec/ld.elf_so" => Some("netbsd"),
        "/usr/libexec/ld.so" => Some("openbsd"),
        "/usr/libexec/ld-elf.so.2" => Some("dragonfly"),
        "/usr/lib/ld.so.1" | "/usr/lib/amd64/ld.so.1" | "/lib/amd64/ld.so.1" => Some("solaris"),
        path if path.starts_with("/system/bin/linker") => Some("android"),
        path if path.starts_with("/lib") => Some("linux"),
        _ => None,
    }
}

fn arm_attributes<R: Read + Seek>(source: &mut Source<R>, header: &Header) -> Result<arm::Attributes, ExecutableError> {
    let Table { offset, entry, count } = header.sections;
    // A stripped program may point to sections that are gone; it runs all the same.
    if count == 0 || offset.saturating_add(entry.saturating_mul(count)) > source.length() {
        return Ok(arm::Attributes::default());
    }
    let bytes = source.bytes(offset, entry * count, "ELF section headers")?;
    let order = header.order;
    let entry = usize::try_from(entry).unwrap_or(usize::MAX);
    let Some(section) = bytes.chunks_exact(entry).find(|raw| order.u32(raw, 4) == 0x7000_0003) else {
        return Ok(arm::Attributes::default());
    };
    let (offset, size) = (order.u32(section, 16).into(), u64::from(order.u32(section, 20)));
    let bytes = source.some(offset, size.min(TABLE), "ARM attributes")?;
    Ok(arm::attributes(&bytes, order))
}
