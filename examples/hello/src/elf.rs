//! A static ELF executable with one loadable segment (System V ABI, "Object Files").

use crate::machine::Machine;

/// Where the segment is loaded.
const BASE: u32 = 0x0040_0000;

/// The whole program for `machine`, ready to be written to a file.
pub(crate) fn program(machine: &Machine) -> Vec<u8> {
    let message = format!("hello from {}\n", machine.platform);
    let code = (machine.code)(message.len() as u32);
    let header_length: u32 = if machine.wide { 64 + 56 } else { 52 + 32 };
    let total = header_length + code.len() as u32 + message.len() as u32;

    let mut file = Vec::with_capacity(total as usize);
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    // An address or offset: as wide as the class.
    let natural = |file: &mut Vec<u8>, value: u32| {
        if machine.wide {
            file.extend(u64::from(value).to_le_bytes());
        } else {
            file.extend(value.to_le_bytes());
        }
    };

    // Identification: class, little endian, version 1, System V.
    file.extend([0x7f, b'E', b'L', b'F', if machine.wide { 2 } else { 1 }, 1, 1, 0]);
    file.extend([0; 8]);
    half(&mut file, 2); // ET_EXEC
    half(&mut file, machine.elf_machine);
    word(&mut file, 1); // version
    natural(&mut file, BASE + header_length); // entry
    natural(&mut file, if machine.wide { 64 } else { 52 }); // program headers
    natural(&mut file, 0); // no section headers
    word(&mut file, machine.elf_flags);
    half(&mut file, if machine.wide { 64 } else { 52 });
    half(&mut file, if machine.wide { 56 } else { 32 });
    half(&mut file, 1); // one program header
    half(&mut file, if machine.wide { 64 } else { 40 });
    half(&mut file, 0);
    half(&mut file, 0);

    const READ_EXECUTE: u32 = 5;
    word(&mut file, 1); // PT_LOAD
    if machine.wide {
        word(&mut file, READ_EXECUTE);
    }
    natural(&mut file, 0); // offset
    natural(&mut file, BASE); // virtual address
    natural(&mut file, BASE); // physical address
    natural(&mut file, total); // size in the file
    natural(&mut file, total); // size in memory
    if !machine.wide {
        word(&mut file, READ_EXECUTE);
    }
    natural(&mut file, 0x1000); // alignment

    debug_assert_eq!(file.len(), header_length as usize);
    file.extend(code);
    file.extend(message.as_bytes());
    file
}
