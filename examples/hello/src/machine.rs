//! The instructions of "write a message, then exit 0" on four machines (Linux system-call conventions).

/// One machine: what its ELF header says and how its program is put together.
pub(crate) struct Machine {
    /// `os/arch[/variant]`.
    pub(crate) platform: &'static str,
    /// Ending of the file's name.
    pub(crate) suffix: &'static str,
    /// `e_machine`.
    pub(crate) elf_machine: u16,
    /// `e_flags`.
    pub(crate) elf_flags: u32,
    /// Whether the class is ELFCLASS64.
    pub(crate) wide: bool,
    /// Makes the code; the message stands right behind it. Takes the message's length.
    pub(crate) code: fn(u32) -> Vec<u8>,
}

/// All machines that a program is made for.
pub(crate) const ALL: &[Machine] = &[
    Machine { platform: "linux/amd64", suffix: "amd64", elf_machine: 62, elf_flags: 0, wide: true, code: amd64 },
    Machine { platform: "linux/arm64", suffix: "arm64", elf_machine: 183, elf_flags: 0, wide: true, code: arm64 },
    // EABI version 5, hard float.
    Machine {
        platform: "linux/arm/v7",
        suffix: "arm-v7",
        elf_machine: 40,
        elf_flags: 0x0500_0400,
        wide: false,
        code: arm,
    },
    Machine { platform: "linux/riscv64", suffix: "riscv64", elf_machine: 243, elf_flags: 0, wide: true, code: riscv64 },
];

fn words(instructions: &[u32]) -> Vec<u8> {
    instructions.iter().flat_map(|instruction| instruction.to_le_bytes()).collect()
}

fn amd64(length: u32) -> Vec<u8> {
    let mut code = vec![0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0]; // mov eax, 1 (write); mov edi, 1 (stdout)
    code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0]); // lea rsi, [rip + 16]: past the rest of the code
    code.push(0xba); // mov edx, length
    code.extend(length.to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]); // mov eax, 60 (exit); xor edi, edi; syscall
    debug_assert_eq!(code.len(), 17 + 5 + 2 + 9);
    code
}

fn arm64(length: u32) -> Vec<u8> {
    let movz = |register: u32, value: u32| 0xd280_0000 | value << 5 | register;
    let adr = |register: u32, offset: u32| 0x1000_0000 | (offset >> 2) << 5 | register;
    const SVC: u32 = 0xd400_0001;
    words(&[
        movz(0, 1),
        adr(1, 7 * 4),
        movz(2, length),
        movz(8, 64), // write
        SVC,
        movz(0, 0),
        movz(8, 93), // exit
        SVC,
    ])
}

fn arm(length: u32) -> Vec<u8> {
    let mov = |register: u32, value: u32| 0xe3a0_0000 | register << 12 | value;
    // `pc` reads as two instructions ahead.
    let add_pc = |register: u32, offset: u32| 0xe28f_0000 | register << 12 | offset;
    const SVC: u32 = 0xef00_0000;
    words(&[
        mov(0, 1),
        add_pc(1, 5 * 4),
        mov(2, length),
        mov(7, 4), // write
        SVC,
        mov(0, 0),
        mov(7, 1), // exit
        SVC,
    ])
}

fn riscv64(length: u32) -> Vec<u8> {
    let addi = |register: u32, source: u32, value: u32| value << 20 | source << 15 | register << 7 | 0x13;
    let auipc = |register: u32| register << 7 | 0x17;
    const ECALL: u32 = 0x73;
    let (a0, a1, a2, a7) = (10, 11, 12, 17);
    words(&[
        addi(a0, 0, 1),
        auipc(a1),
        addi(a1, a1, 8 * 4),
        addi(a2, 0, length),
        addi(a7, 0, 64), // write
        ECALL,
        addi(a0, 0, 0),
        addi(a7, 0, 93), // exit
        ECALL,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Runs the program for `suffix`: by itself where the machine can, else with qemu's user emulation.
    fn output_of(machine: &Machine) -> Option<String> {
        let directory = std::env::temp_dir().join(format!("polyarch-hello-{}-{}", std::process::id(), machine.suffix));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("hello");
        crate::write_program(&path, &crate::elf::program(machine)).unwrap();
        let native = machine.suffix == "amd64" && cfg!(all(target_os = "linux", target_arch = "x86_64"))
            || machine.suffix == "arm64" && cfg!(all(target_os = "linux", target_arch = "aarch64"));
        let output = if native {
            Command::new(&path).output()
        } else {
            let emulator = match machine.suffix {
                "amd64" => "qemu-x86_64-static",
                "arm64" => "qemu-aarch64-static",
                "arm-v7" => "qemu-arm-static",
                _ => "qemu-riscv64-static",
            };
            Command::new(emulator).arg(&path).output()
        };
        std::fs::remove_dir_all(&directory).unwrap();
        match output {
            Ok(output) => {
                assert!(output.status.success(), "{}: {output:?}", machine.platform);
                Some(String::from_utf8(output.stdout).unwrap())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: no qemu for {}", machine.platform);
                None
            }
            Err(error) => panic!("{}: {error}", machine.platform),
        }
    }

    #[test]
    fn every_program_says_its_platform() {
        for machine in ALL {
            if let Some(output) = output_of(machine) {
                assert_eq!(output, format!("hello from {}\n", machine.platform));
            }
        }
    }
}
