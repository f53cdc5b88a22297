//! Whether an executable is what a platform says.

use std::fmt;

use image::{Platform, PlatformMatcher};

use crate::{Executable, Format};

/// An executable and a platform that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the executable is for {}, not for {wanted}", list(found))]
pub struct Disagreement {
    /// What the executable is for.
    pub found: Vec<Platform>,
    /// What was asked for.
    pub wanted: Box<Platform>,
}

impl Executable {
    /// Whether the file may stand in an image for `platform`.
    ///
    /// It must be made for that architecture, and for a variant that runs on the platform's: a program for ARMv6 agrees
    /// with `linux/arm/v7`, the other way round it does not. That an `amd64` machine would run it too makes no program
    /// for `386` one of `amd64`.
    pub fn agrees(&self, platform: &Platform) -> bool {
        self.check(platform).is_ok()
    }

    /// As [`Executable::agrees`], with an error that names both sides.
    pub fn check(&self, platform: &Platform) -> Result<(), Disagreement> {
        let wanted = platform.normalized();
        if self.platforms.iter().any(|found| self.fits(found, &wanted)) {
            Ok(())
        } else {
            Err(Disagreement { found: self.platforms.clone(), wanted: Box::new(wanted) })
        }
    }

    fn fits(&self, found: &Platform, wanted: &Platform) -> bool {
        let open_system = !self.system_is_certain && self.format.may_run_on(&wanted.os);
        // illumos never changed what Solaris wrote into its headers.
        let same_system = found.os == wanted.os || (found.os == "solaris" && wanted.os == "illumos");
        if found.architecture != wanted.architecture || !(same_system || open_system) {
            return false;
        }
        if found.variant.is_empty() {
            return true;
        }
        // Version and features of the system are nothing that a header knows.
        let wanted = Platform {
            os: found.os.clone(),
            variant: wanted.variant.clone(),
            ..Platform::new("", &wanted.architecture)
        };
        // ARMv4 code runs on all that came later, though no platform is called so.
        (found.architecture == "arm" && found.variant == "v4") || PlatformMatcher::new(&wanted).matches(found)
    }
}

impl Format {
    fn may_run_on(self, os: &str) -> bool {
        match self {
            Self::Elf => !matches!(os, "windows" | "darwin" | "ios" | "wasip1" | "wasi" | "js"),
            Self::Pe => os == "windows",
            Self::MachO => matches!(os, "darwin" | "ios"),
            Self::Wasm => true,
        }
    }
}

fn list(platforms: &[Platform]) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// In one line: `ELF for linux/arm/v7, hard float, interpreter /lib/ld-linux-armhf.so.3`.
impl fmt::Display for Executable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.format, list(&self.platforms))?;
        for name in &self.traits {
            write!(f, ", {name}")?;
        }
        match &self.interpreter {
            Some(path) => write!(f, ", interpreter {}", path.escape_debug()),
            None if self.is_static => f.write_str(", static"),
            None => Ok(()),
        }
    }
}
