//! The `polyarch` binary. All of it is in the library, so that the reference can be generated from the same types.

use std::process::ExitCode;

fn main() -> ExitCode {
    polyarch_cli::start(std::env::args_os(), settings::Environment::from_process()).into()
}
