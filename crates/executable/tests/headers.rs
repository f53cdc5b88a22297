//! Headers of every format, made here, and what is read from them.

use image::Platform;
use polyarch_executable::{Executable, ExecutableError, Format, Kind};
use proptest::prelude::*;

/// An ELF file: header, program headers, then the contents of the segments one after the other.
#[derive(Clone)]
struct Elf {
    wide: bool,
    big: bool,
    abi: u8,
    kind: u16,
    machine: u16,
    flags: u32,
    /// Kind and content. A segment that is loaded (1) covers the whole file, at address 0x1000.
    segments: Vec<(u32, Vec<u8>)>,
    /// Kind and content of sections.
    sections: Vec<(u32, Vec<u8>)>,
}

impl Elf {
    fn new(machine: u16, wide: bool, big: bool) -> Self {
        Self { wide, big, abi: 0, kind: 2, machine, flags: 0, segments: Vec::new(), sections: Vec::new() }
    }

    fn number(&self, value: u64, bytes: usize) -> Vec<u8> {
        let mut raw = value.to_le_bytes()[..bytes].to_vec();
        if self.big {
            raw.reverse();
        }
        raw
    }

    fn word(&self, value: usize) -> Vec<u8> {
        self.number(value as u64, if self.wide { 8 } else { 4 })
    }

    fn interpreter(mut self, path: &str) -> Self {
        self.segments.push((3, format!("{path}\0").into_bytes()));
        self
    }

    fn note(mut self, name: &str, kind: u64, content: &[u8]) -> Self {
        let padded = |bytes: &[u8]| [bytes, &vec![0; bytes.len().next_multiple_of(4) - bytes.len()]].concat();
        let name = format!("{name}\0").into_bytes();
        let note = [
            self.number(name.len() as u64, 4),
            self.number(content.len() as u64, 4),
            self.number(kind, 4),
            padded(&name),
            padded(content),
        ];
        self.segments.push((4, note.concat()));
        self
    }

    /// A dynamic table with these names, and where its texts are: the table's own segment is loaded too.
    fn dynamic(mut self, needed: &[&str], more: &[(usize, usize)]) -> Self {
        let entries = needed.len() + more.len() + 3;
        let table = entries * 2 * if self.wide { 8 } else { 4 };
        let mut texts = vec![0];
        let mut raw = Vec::new();
        for name in needed {
            raw.extend([self.word(1), self.word(texts.len())].concat());
            texts.extend(name.bytes().chain([0]));
        }
        for &(tag, value) in more {
            raw.extend([self.word(tag), self.word(value)].concat());
        }
        let start = self.size() + 2 * self.segment_size();
        raw.extend([self.word(5), self.word(0x1000 + start + table)].concat());
        raw.extend([self.word(10), self.word(texts.len()), self.word(0), self.word(0)].concat());
        raw.extend(texts);
        self.segments.push((1, Vec::new()));
        self.segments.push((2, raw));
        self
    }

    fn segment_size(&self) -> usize {
        if self.wide { 56 } else { 32 }
    }

    fn header_size(&self) -> usize {
        if self.wide { 64 } else { 52 }
    }

    fn size(&self) -> usize {
        let contents: usize = self.segments.iter().map(|(_, content)| content.len()).sum();
        self.header_size() + self.segments.len() * self.segment_size() + contents
    }

    fn build(&self) -> Vec<u8> {
        let n = |value: usize, bytes| self.number(value as u64, bytes);
        let (size, header) = (self.size(), self.header_size());
        let section_size = if self.wide { 64 } else { 40 };
        let mut out = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(self.wide), 1 + u8::from(self.big), 1, self.abi];
        out.extend([0; 8]);
        out.extend([n(self.kind.into(), 2), n(self.machine.into(), 2), n(1, 4), self.word(0)].concat());
        out.extend([self.word(header), self.word(size), n(self.flags as usize, 4), n(header, 2)].concat());
        out.extend([n(self.segment_size(), 2), n(self.segments.len(), 2), n(section_size, 2)].concat());
        out.extend([n(self.sections.len(), 2), n(0, 2)].concat());
        let mut at = header + self.segments.len() * self.segment_size();
        for (kind, content) in &self.segments {
            let (offset, length) = if *kind == 1 { (0, size) } else { (at, content.len()) };
            let (kind, offset, address, length) =
                (n(*kind as usize, 4), self.word(offset), self.word(0x1000 + offset), self.word(length));
            out.extend(if self.wide {
                [kind, n(4, 4), offset, address, self.word(0), length, self.word(0), self.word(4)].concat()
            } else {
                [kind, offset, address, self.word(0), length, self.word(0), n(4, 4), self.word(4)].concat()
            });
            at += content.len();
        }
        for (_, content) in &self.segments {
            out.extend(content);
        }
        assert_eq!(out.len(), size);
        let mut at = size + self.sections.len() * section_size;
        for (kind, content) in &self.sections {
            let start = out.len();
            out.extend([n(0, 4), n(*kind as usize, 4), self.word(0), self.word(0), self.word(at)].concat());
            out.extend(self.word(content.len()));
            out.resize(start + section_size, 0);
            at += content.len();
        }
        for (_, content) in &self.sections {
            out.extend(content);
        }
        out
    }

    fn read(&self) -> Executable {
        Executable::parse(&self.build()).unwrap()
    }
}

/// `.ARM.attributes` with this architecture, and floats in registers or not.
fn arm_attributes(architecture: u8, hard_float: bool) -> Vec<u8> {
    let attributes = [6, architecture, 28, u8::from(hard_float)];
    [&b"A\x13\0\0\0aeabi\0\x01\x09\0\0\0"[..], &attributes].concat()
}

fn arm(architecture: u8) -> Elf {
    let mut elf = Elf::new(40, false, false);
    elf.flags = 0x0500_0000;
    elf.sections = vec![(0, Vec::new()), (0x7000_0003, arm_attributes(architecture, true))];
    elf
}

fn platform(text: &str) -> Platform {
    Platform::parse(text).unwrap()
}

#[test]
fn every_machine_has_its_name() {
    for (machine, wide, big, flags, want) in [
        (3, false, false, 0, "linux/386"),
        (62, true, false, 0, "linux/amd64"),
        (62, false, false, 0, "linux/amd64p32"),
        (40, false, false, 0, "linux/arm"),
        (40, false, true, 0, "linux/armbe"),
        (183, true, false, 0, "linux/arm64"),
        (183, true, true, 0, "linux/arm64be"),
        (243, true, false, 5, "linux/riscv64"),
        (243, false, false, 0, "linux/riscv"),
        (8, false, true, 0, "linux/mips"),
        (8, false, false, 0, "linux/mipsle"),
        (8, true, true, 0, "linux/mips64"),
        (8, true, false, 0, "linux/mips64le"),
        (8, false, true, 0x20, "linux/mips64p32"),
        (20, false, true, 0, "linux/ppc"),
        (21, true, true, 1, "linux/ppc64"),
        (21, true, false, 2, "linux/ppc64le"),
        (22, true, true, 0, "linux/s390x"),
        (22, false, true, 0, "linux/s390"),
        (43, true, true, 0, "linux/sparc64"),
        (258, true, false, 0, "linux/loong64"),
    ] {
        let elf = Elf { flags, ..Elf::new(machine, wide, big) };
        let found = elf.read();
        assert_eq!(found.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(), [want]);
        assert!(found.is_static && found.kind == Kind::Program && found.format == Format::Elf, "{found:?}");
    }
    for (machine, wide, big) in [(0, true, false), (247, true, false), (62, true, true), (22, true, false)] {
        let error = Executable::parse(&Elf::new(machine, wide, big).build()).unwrap_err().to_string();
        assert_eq!(error, format!("ELF file for a machine that is not known: number {machine}"));
    }
}

#[test]
fn interpreter_and_libraries() {
    for (wide, big) in [(true, false), (true, true), (false, true), (false, false)] {
        let machine = match (wide, big) {
            (true, false) => 62,
            (true, true) => 21,
            (false, true) => 8,
            (false, false) => 3,
        };
        let elf = Elf { kind: 3, ..Elf::new(machine, wide, big) }
            .interpreter("/lib64/ld-linux-x86-64.so.2")
            .dynamic(&["libm.so.6", "libc.so.6", "libm.so.6"], &[]);
        let found = elf.read();
        assert_eq!(found.interpreter.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(found.libraries, ["libm.so.6", "libc.so.6"]);
        assert!(!found.is_static && found.system_is_certain && found.kind == Kind::Program);
    }
}

#[test]
fn programs_are_told_from_libraries() {
    let elf = || Elf { kind: 3, ..Elf::new(62, true, false) };
    assert_eq!(elf().dynamic(&["libc.so.6"], &[(14, 0)]).read().kind, Kind::Library);
    assert_eq!(elf().dynamic(&["libc.so.6"], &[]).read().kind, Kind::Library);
    assert_eq!(elf().dynamic(&[], &[]).read().kind, Kind::Program, "static, at any address");
    assert_eq!(elf().dynamic(&["libc.so.6"], &[(0x6fff_fffb, 0x0800_0000)]).read().kind, Kind::Program);
    let object = Executable::parse(&Elf { kind: 1, ..elf() }.build()).unwrap_err();
    assert_eq!(object.to_string(), "not a program: an object file that was never linked");
    let core = Executable::parse(&Elf { kind: 4, ..elf() }.build()).unwrap_err();
    assert_eq!(core.to_string(), "not a program: a core dump");
}

#[test]
fn the_operating_system_is_found_where_it_is_stated() {
    let elf = || Elf::new(62, true, false);
    for (found, want) in [
        (elf().note("FreeBSD", 1, &[0; 4]), "freebsd"),
        (elf().note("NetBSD", 1, &[0; 4]), "netbsd"),
        (elf().note("OpenBSD", 1, &[0; 4]), "openbsd"),
        (elf().note("Go", 4, b"build id").note("Android", 1, &[21, 0, 0, 0]), "android"),
        (elf().note("GNU", 1, &[0; 16]), "linux"),
        (elf().note("GNU", 1, &[1, 0, 0, 0]), "hurd"),
        (Elf { abi: 9, ..elf() }, "freebsd"),
        (Elf { abi: 3, ..elf() }, "linux"),
        (elf().interpreter("/libexec/ld-elf.so.1"), "freebsd"),
        (elf().interpreter("/usr/libexec/ld.elf_so"), "netbsd"),
        (elf().interpreter("/system/bin/linker64"), "android"),
        (elf().interpreter("/lib/ld-musl-x86_64.so.1"), "linux"),
    ] {
        let found = found.read();
        assert_eq!((found.platforms[0].os.as_str(), found.system_is_certain), (want, true));
        assert!(found.agrees(&Platform::new(want, "amd64")));
        assert!(!found.agrees(&Platform::new("windows", "amd64")));
    }
    let open = elf().note("Go", 4, b"x").read();
    assert_eq!((open.platforms[0].os.as_str(), open.system_is_certain), ("linux", false));
    for (os, agrees) in [("linux", true), ("openbsd", true), ("android", true), ("windows", false), ("darwin", false)] {
        assert_eq!(open.agrees(&Platform::new(os, "amd64")), agrees, "{os}");
    }
    let solaris = Elf { abi: 6, ..elf() }.read();
    assert!(solaris.agrees(&Platform::new("illumos", "amd64")) && !solaris.agrees(&Platform::new("linux", "amd64")));
}

#[test]
fn an_arm_program_agrees_with_its_version_and_later_ones() {
    for (attribute, found, agrees) in [
        (4, "linux/arm/v5", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8"].as_slice()),
        (6, "linux/arm/v6", &["linux/arm/v6", "linux/arm/v7", "linux/arm", "linux/arm/v8"]),
        (10, "linux/arm/v7", &["linux/arm/v7", "linux/arm", "linux/armhf", "linux/arm/v8"]),
        (14, "linux/arm/v8", &["linux/arm/v8"]),
        (2, "linux/arm/v4", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8"]),
    ] {
        let read = arm(attribute).read();
        assert_eq!(read.platforms[0].to_string(), found);
        assert_eq!(read.traits, ["hard float"]);
        for wanted in ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm", "linux/armhf", "linux/arm/v8"] {
            let equivalent = agrees.iter().any(|text| platform(text) == platform(wanted));
            assert_eq!(read.agrees(&platform(wanted)), equivalent, "{found} in {wanted}");
        }
        assert!(!read.agrees(&platform("linux/arm64")), "an arm64 machine may run it, an arm64 image may not hold it");
    }
    let silent = Elf::new(40, false, false).read();
    for wanted in ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"] {
        assert!(silent.agrees(&platform(wanted)), "nothing is known against {wanted}");
    }
}

#[test]
fn float_abi_of_arm_by_the_flags() {
    let traits = |flags| Elf { flags, ..Elf::new(40, false, false) }.read().traits;
    assert_eq!(traits(0x0500_0400), ["hard float"]);
    assert_eq!(traits(0x0500_0200), ["soft float"]);
    assert!(traits(0x0500_0000).is_empty());
    let riscv = Elf { flags: 5, ..Elf::new(243, true, false) }.read();
    assert_eq!(riscv.to_string(), "ELF for linux/riscv64, double float, compressed instructions, static");
}

#[test]
fn levels_of_x86_64_that_are_asked_for() {
    // A property of another kind comes first.
    let property = |bits: u8| {
        [
            &[1, 0, 0, 0xc0, 4, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0][..],
            &[2, 0x80, 0, 0xc0, 4, 0, 0, 0, bits, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat()
    };
    let elf = |bits| Elf::new(62, true, false).note("GNU", 5, &property(bits)).read();
    for (bits, want) in [(0, "linux/amd64"), (1, "linux/amd64"), (3, "linux/amd64/v2"), (7, "linux/amd64/v3")] {
        assert_eq!(elf(bits).platforms[0].to_string(), want);
    }
    assert!(elf(7).agrees(&platform("linux/amd64/v4")));
    assert!(!elf(7).agrees(&platform("linux/amd64")));
    assert!(elf(1).agrees(&platform("linux/amd64/v3")));
}

#[test]
fn disagreement_names_both_sides() {
    let arm64 = Elf::new(183, true, false).read();
    let error = arm64.check(&platform("linux/amd64")).unwrap_err();
    assert_eq!(error.to_string(), "the executable is for linux/arm64, not for linux/amd64");
    assert!(arm64.agrees(&platform("linux/arm64/v8")) && arm64.agrees(&platform("linux/arm64/v9")));
    let i386 = Elf::new(3, false, false).read();
    assert!(!i386.agrees(&platform("linux/amd64")), "an amd64 machine may run it, an amd64 image may not hold it");
}

fn pe(machine: u16, characteristics: u16, subsystem: u16, libraries: &[&str]) -> Vec<u8> {
    let optional_size = 112 + 16 * 8;
    let mut out = vec![0; 0x80];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 0x80;
    out.extend(b"PE\0\0");
    out.extend(machine.to_le_bytes());
    out.extend(1_u16.to_le_bytes());
    out.extend([0; 12]);
    out.extend(u16::try_from(optional_size).unwrap().to_le_bytes());
    out.extend(characteristics.to_le_bytes());
    let optional = out.len();
    out.resize(optional + optional_size, 0);
    out[optional..optional + 2].copy_from_slice(&0x020b_u16.to_le_bytes());
    out[optional + 68..optional + 70].copy_from_slice(&subsystem.to_le_bytes());
    out[optional + 108..optional + 112].copy_from_slice(&16_u32.to_le_bytes());
    out[optional + 120..optional + 124].copy_from_slice(&0x2000_u32.to_le_bytes());
    let section = out.len();
    out.resize(section + 40, 0);
    let mut names = 20 * (libraries.len() + 1);
    let mut imports = vec![0; names];
    for (index, library) in libraries.iter().enumerate() {
        let address = 0x2000 + u32::try_from(names).unwrap();
        imports[20 * index + 12..20 * index + 16].copy_from_slice(&address.to_le_bytes());
        imports.extend(library.bytes().chain([0]));
        names = imports.len();
    }
    let start = u32::try_from(out.len()).unwrap();
    let size = u32::try_from(imports.len()).unwrap();
    for (at, value) in [(12, 0x2000), (16, size), (20, start)] {
        out[section + at..section + at + 4].copy_from_slice(&value.to_le_bytes());
    }
    out.extend(imports);
    out
}

#[test]
fn windows() {
    let found = Executable::parse(&pe(0x8664, 0x22, 3, &["KERNEL32.dll", "ntdll.dll"])).unwrap();
    assert_eq!((found.format, found.kind), (Format::Pe, Kind::Program));
    assert_eq!(found.platforms, [Platform::new("windows", "amd64")]);
    assert_eq!(found.libraries, ["KERNEL32.dll", "ntdll.dll"]);
    assert!(found.agrees(&platform("windows(10.0.20348.1)/amd64")) && !found.agrees(&platform("linux/amd64")));
    for (machine, want) in [(0x014c, "windows/386"), (0xaa64, "windows/arm64"), (0x01c4, "windows/arm/v7")] {
        let found = Executable::parse(&pe(machine, 0x2022, 3, &[])).unwrap();
        assert_eq!((found.platforms[0].to_string().as_str(), found.kind), (want, Kind::Library));
        assert!(found.is_static);
    }
    assert_eq!(Executable::parse(&pe(0x8664, 0x22, 10, &[])).unwrap().platforms[0].os, "uefi");
    assert!(matches!(Executable::parse(&pe(0x8664, 0, 3, &[])), Err(ExecutableError::NotAProgram { .. })));
    assert!(matches!(Executable::parse(&pe(0x0ebc, 2, 3, &[])), Err(ExecutableError::Machine { machine: 0x0ebc, .. })));
}

fn mach(cpu: u32, subtype: u32, kind: u32, commands: &[Vec<u8>]) -> Vec<u8> {
    let wide = cpu & 0x0100_0000 != 0;
    let size = commands.iter().map(Vec::len).sum::<usize>();
    let count = u32::try_from(commands.len()).unwrap();
    let magic: u32 = if wide { 0xfeed_facf } else { 0xfeed_face };
    let mut out: Vec<u8> = [magic, cpu, subtype, kind, count, u32::try_from(size).unwrap(), 0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    out.extend(vec![0; if wide { 4 } else { 0 }]);
    out.extend(commands.concat());
    out
}

fn command(kind: u32, name: &str) -> Vec<u8> {
    let size = (12 + name.len() + 1).next_multiple_of(8);
    let mut out =
        [kind, u32::try_from(size).unwrap(), 12].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    out.extend(name.bytes());
    out.resize(size, 0);
    out
}

fn fat(slices: &[Vec<u8>]) -> Vec<u8> {
    let big = |value: usize| u32::try_from(value).unwrap().to_be_bytes();
    let mut out = [0xcafe_babe_u32.to_be_bytes(), big(slices.len())].concat();
    let mut at = 8 + 20 * slices.len();
    for slice in slices {
        out.extend([big(0), big(0), big(at), big(slice.len()), big(0)].concat());
        at += slice.len();
    }
    out.extend(slices.concat());
    out
}

#[test]
fn macos() {
    let commands = [command(0x0e, "/usr/lib/dyld"), command(0x0c, "/usr/lib/libSystem.B.dylib")];
    let arm64 = mach(0x0100_000c, 0, 2, &commands);
    let found = Executable::parse(&arm64).unwrap();
    assert_eq!(found.platforms, [Platform::new("darwin", "arm64")]);
    assert_eq!(found.interpreter.as_deref(), Some("/usr/lib/dyld"));
    assert_eq!(found.libraries, ["/usr/lib/libSystem.B.dylib"]);
    assert!(found.agrees(&platform("macos/arm64")) && !found.agrees(&platform("linux/arm64")));

    let both = fat(&[mach(0x0100_0007, 3, 2, &commands), arm64]);
    let found = Executable::parse(&both).unwrap();
    assert_eq!(found.platforms, [Platform::new("darwin", "amd64"), Platform::new("darwin", "arm64")]);
    assert_eq!(found.libraries.len(), 1);
    assert!(found.agrees(&platform("darwin/amd64")) && found.agrees(&platform("darwin/arm64")));
    let error = found.check(&platform("linux/amd64")).unwrap_err().to_string();
    assert_eq!(error, "the executable is for darwin/amd64 and darwin/arm64, not for linux/amd64");

    let ios =
        mach(0x0100_000c, 2, 2, &[[0x32, 24, 2, 0, 0, 0].iter().flat_map(|value: &u32| value.to_le_bytes()).collect()]);
    assert_eq!(Executable::parse(&ios).unwrap().platforms[0].os, "ios");
    assert_eq!(Executable::parse(&mach(7, 3, 6, &[])).unwrap().kind, Kind::Library);
    assert!(matches!(Executable::parse(&mach(7, 3, 1, &[])), Err(ExecutableError::NotAProgram { .. })));
}

#[test]
fn a_java_class_is_no_mach_o_file() {
    let class = [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52, 0, 1];
    let error = Executable::parse(&class).unwrap_err().to_string();
    assert_eq!(error, "not an executable of a known format: it starts with `ca fe ba be 00 00 00 34`");
}

#[test]
fn other_files_are_named() {
    for (bytes, want) in [
        (&b""[..], "the file is empty"),
        (b"#!/bin/sh -e\nx", "a script, run by `/bin/sh`: no platform follows from it"),
        (b"#! \x1b[2J\n", "a script, run by `\\u{1b}[2J`: no platform follows from it"),
        (b"hello", "not an executable of a known format: it starts with `68 65 6c 6c 6f`"),
        (b"\x7fELF", "cut off: the ELF header should be at byte 0, the file has 4"),
        (b"MZ", "cut off: the DOS header should be at byte 60, the file has 2"),
    ] {
        assert_eq!(Executable::parse(bytes).unwrap_err().to_string(), want);
    }
    let wasm = Executable::parse(b"\0asm\x01\0\0\0").unwrap();
    assert!(wasm.agrees(&platform("wasi/wasm")) && wasm.agrees(&platform("linux/wasm")));
}

#[test]
fn this_test_is_a_program_for_this_machine() {
    let found = Executable::read(std::fs::File::open(std::env::current_exe().unwrap()).unwrap()).unwrap();
    assert!(found.agrees(&Platform::host()), "{found}");
    assert_eq!(found.kind, Kind::Program);
}

#[test]
fn tables_that_claim_to_be_huge_are_refused_quickly() {
    let mut bytes = Elf::new(62, true, false).interpreter("/x").build();
    bytes[54..56].copy_from_slice(&u16::MAX.to_le_bytes());
    bytes[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    bytes.resize(300 << 20, 0);
    assert!(matches!(Executable::parse(&bytes), Err(ExecutableError::TooMuch { .. })));
}

fn samples() -> Vec<Vec<u8>> {
    let commands = [command(0x0e, "/usr/lib/dyld"), command(0x0c, "x")];
    let dynamic = |machine, wide, big| {
        Elf { kind: 3, ..Elf::new(machine, wide, big) }
            .interpreter("/lib/ld.so")
            .note("GNU", 1, &[0; 4])
            .dynamic(&["a", "b"], &[])
            .build()
    };
    vec![
        dynamic(62, true, false),
        dynamic(22, true, true),
        dynamic(8, false, true),
        arm(10).build(),
        pe(0x8664, 0x22, 3, &["a.dll", "b.dll"]),
        mach(0x0100_000c, 0, 2, &commands),
        fat(&[mach(7, 0, 2, &commands), mach(0x0100_0007, 0, 2, &commands)]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_it_panic(
        sample in prop::sample::select(samples()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()]), 0..12),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = sample;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(found) = Executable::parse(&bytes) {
            prop_assert!(!found.platforms.is_empty());
            prop_assert!(found.libraries.len() <= 1024 * 32);
            for platform in &found.platforms {
                let _ = found.agrees(platform);
            }
        }
    }

    #[test]
    fn no_bytes_behind_a_magic_make_it_panic(
        magic in prop::sample::select(vec![
            &b"\x7fELF\x02\x01\x01"[..], b"\x7fELF\x01\x02\x01", b"MZ", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xce",
            b"\xca\xfe\xba\xbe\0\0\0\x02", b"\xca\xfe\xba\xbf\0\0\0\x02", b"#!",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = Executable::parse(&[magic, &rest].concat());
    }
}
