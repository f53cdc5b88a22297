//! Writes one small static program for each of four platforms: `polyarch-hello DIR` makes `DIR/hello-amd64`,
//! `hello-arm64`, `hello-arm-v7` and `hello-riscv64`.
//!
//! Each prints `hello from PLATFORM` and exits. The instructions are spelt out below, so no cross compiler is needed
//! and the same source gives the same bytes everywhere.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod elf;
mod machine;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: polyarch-hello DIRECTORY");
        return ExitCode::from(2);
    };
    if let Err(error) = std::fs::create_dir_all(&directory) {
        eprintln!("failed to make the directory `{}`: {error}", directory.display());
        return ExitCode::FAILURE;
    }
    for machine in machine::ALL {
        let path = Path::new(&directory).join(format!("hello-{}", machine.suffix));
        if let Err(error) = write_program(&path, &elf::program(machine)) {
            eprintln!("failed to write `{}`: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("{}={}", machine.platform, path.display());
    }
    ExitCode::SUCCESS
}

fn write_program(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::write(path, bytes)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
