//! Every target takes its seeds, and what comes of them in a second: so none of them rots.
#![allow(clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use polyarch_fuzzing::{TARGETS, run};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let directory = fuzz().join("corpus").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs a target, and shows what it choked on.
fn check(name: &str, bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(name, bytes))) {
        eprintln!("{name} chokes on \"{}\"", bytes.escape_ascii());
        resume_unwind(panic);
    }
}

/// Bytes that mean something somewhere.
const ODD: &[u8] = b"\0\n\"\\/:{}[],-_.%@+*=\x80\xff09azAZ";

/// A small generator (xorshift64*): the same offspring in each run, as far as the time lets it come.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }

    /// Changes some bytes: turns one over, takes some out, doubles some, takes some of another.
    fn offspring(&mut self, parent: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = parent.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            let end = (at + 1 + self.below(12)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = ODD[self.below(ODD.len())],
                2 => drop(bytes.drain(at.min(end)..end)),
                3 => {
                    let some = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at..at, some);
                }
                4 => {
                    let from = self.below(other.len() + 1);
                    let to = (from + 1 + self.below(24)).min(other.len());
                    bytes.splice(at..at, other[from.min(to)..to].iter().copied());
                }
                _ => bytes.insert(at, self.below(256) as u8),
            }
        }
        bytes
    }
}

fn a_second_of(name: &str) {
    let seeds = seeds(name);
    assert!(seeds.len() > 3, "{name} has {} seeds", seeds.len());
    for seed in &seeds {
        check(name, seed);
    }
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seeds.len() as u64);
    let (begun, mut runs) = (Instant::now(), 0u64);
    while begun.elapsed() < Duration::from_secs(1) {
        for _ in 0..20 {
            let (parent, other) = (&seeds[dice.below(seeds.len())], &seeds[dice.below(seeds.len())]);
            check(name, &dice.offspring(parent, other));
            runs += 1;
        }
    }
    eprintln!("{name}: {} seeds, {runs} of their offspring", seeds.len());
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            a_second_of(stringify!($name));
        })*

        #[test]
        fn every_target_is_tested_has_a_program_and_seeds() {
            let tested = BTreeSet::from([$(stringify!($name).to_owned()),*]);
            let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(tested, known);
            let names = |directory: &str, end: &str| -> BTreeSet<String> {
                fs::read_dir(fuzz().join(directory))
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().to_str().unwrap().trim_end_matches(end).to_owned())
                    .collect()
            };
            assert_eq!(names("fuzz_targets", ".rs"), known);
            assert_eq!(names("corpus", ""), known);
            let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
            for name in known {
                assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
            }
        }
    };
}

targets! { answers digests documents files indexes names policies ranges requests settings tokens }
