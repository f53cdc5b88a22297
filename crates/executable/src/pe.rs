//! PE: Windows (Microsoft, "PE Format").

use std::io::{Read, Seek};

use image::Platform;

use crate::source::{Order, Source};
use crate::{Executable, ExecutableError, Format, Kind};

/// Most sections and imported libraries that are looked at.
const ENTRIES: u16 = 1024;

pub(crate) fn parse<R: Read + Seek>(source: &mut Source<R>) -> Result<Executable, ExecutableError> {
    let order = Order::Little;
    let start = u64::from(order.u32(&source.bytes(0x3c, 4, "DOS header")?, 0));
    let header = source.bytes(start, 24, "PE header")?;
    if !header.starts_with(b"PE\0\0") {
        return Err(ExecutableError::Malformed { format: Format::Pe, what: "it is a program for DOS" });
    }
    let machine = order.u16(&header, 4);
    let (architecture, variant) = match machine {
        0x014c => ("386", ""),
        0x8664 => ("amd64", ""),
        0x01c0 | 0x01c2 | 0x01c4 => ("arm", "v7"),
        0xaa64 => ("arm64", ""),
        0x5064 => ("riscv64", ""),
        0x6264 => ("loong64", ""),
        _ => return Err(ExecutableError::Machine { format: Format::Pe, machine: machine.into() }),
    };
    let sections = order.u16(&header, 6).min(ENTRIES);
    let optional_size = u64::from(order.u16(&header, 20));
    let characteristics = order.u16(&header, 22);
    if characteristics & 0x0002 == 0 {
        return Err(ExecutableError::NotAProgram { what: "an object file that was never linked" });
    }
    let optional = source.bytes(start + 24, optional_size, "PE optional header")?;
    let directories = match order.u16(&optional, 0) {
        0x010b => 96,
        0x020b => 112,
        _ => return Err(ExecutableError::Malformed { format: Format::Pe, what: "its optional header is unknown" }),
    };
    // Subsystems 10 to 13 are the firmware's: nothing that a container runs.
    let os = if matches!(order.u16(&optional, 68), 10..=13) { "uefi" } else { "windows" };
    let sections = source.bytes(start + 24 + optional_size, u64::from(sections) * 40, "PE section headers")?;
    let imports = if order.u32(&optional, directories - 4) > 1 { order.u32(&optional, directories + 8) } else { 0 };
    let libraries = if imports == 0 { Vec::new() } else { libraries(source, &sections, imports)? };
    let platform = Platform { variant: variant.to_owned(), ..Platform::new(os, architecture) };
    Ok(Executable {
        format: Format::Pe,
        kind: if characteristics & 0x2000 == 0 { Kind::Program } else { Kind::Library },
        platforms: vec![platform],
        system_is_certain: true,
        interpreter: None,
        is_static: libraries.is_empty(),
        libraries,
        traits: Vec::new(),
    })
}

/// Names in the import table: entries of 20 bytes, the last one empty.
fn libraries<R: Read + Seek>(
    source: &mut Source<R>,
    sections: &[u8],
    table: u32,
) -> Result<Vec<String>, ExecutableError> {
    let mut libraries = Vec::new();
    let Some(table) = file_offset(sections, table) else { return Ok(libraries) };
    for index in 0..u64::from(ENTRIES) {
        let entry = source.some(table + 20 * index, 20, "PE import table")?;
        let name = Order::Little.u32(&entry, 12);
        let Some(name) = Some(name).filter(|&name| name != 0).and_then(|name| file_offset(sections, name)) else {
            break;
        };
        let library = source.text(name, 256, "name of a library")?;
        if !library.is_empty() && !libraries.contains(&library) {
            libraries.push(library);
        }
    }
    Ok(libraries)
}

/// Where in the file the byte is that will be at `address`.
fn file_offset(sections: &[u8], address: u32) -> Option<u64> {
    let order = Order::Little;
    sections.chunks_exact(40).find_map(|section| {
        let inside = address.checked_sub(order.u32(section, 12)).filter(|&inside| inside < order.u32(section, 16))?;
        Some(u64::from(order.u32(section, 20)) + u64::from(inside))
    })
}
