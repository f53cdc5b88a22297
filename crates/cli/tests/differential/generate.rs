//! Scenarios from a seed: commands in an order that nobody would think of.

use crate::script::Scenario;

/// Lists that a scenario works on: in a repository with images and in two without.
const LISTS: &[&str] = &["R/t/app:one", "R/t/target:one", "R/t/target", "R/t/oci:two", "L/t/other:x"];

/// Sources that are there.
const IMAGES: &[&str] = &[
    "R/t/app:amd64",
    "R/t/app:arm64",
    "R/t/app:arm64v8",
    "R/t/app:armv7",
    "R/t/app:s390x",
    "R/t/app@riscv64@",
    "R/t/app:amd64@amd64@",
    "R/t/app-amd64:v1",
    "R/t/app-arm64:v2",
    "R/t/app-win:ltsc",
    "R/t/oci:amd64",
    "R/t/oci:untyped",
    "R/t/odd:html",
    "R/t/odd:case",
];

/// Sources that are refused, or not there, or no references.
const TROUBLE: &[&str] = &[
    "R/t/app:nope",
    "R/t/idx:oci",
    "R/t/idx:attested",
    "R/t/odd:noplatform",
    "R/t/odd:schema1",
    "UPPER",
    "a:b:c",
    "''",
];

/// The generator of Steele, Lea and Flood ("SplitMix"): a dozen lines instead of a dependency.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or_default()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// True once in `n` times.
    fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The scenario of a seed.
pub(crate) fn scenario(seed: u64) -> Scenario {
    let mut dice = Dice(seed);
    // Two lists and a handful of images, so that commands meet.
    let lists = [dice.pick(LISTS), dice.pick(LISTS)];
    let images: Vec<&str> = (0..4).map(|_| dice.pick(IMAGES)).collect();
    let length = 5 + dice.below(6);
    let mut lines = vec![create(&mut dice, &lists, &images)];
    while lines.len() < length {
        let line = match dice.below(12) {
            0..=3 => create(&mut dice, &lists, &images),
            4..=6 => annotate(&mut dice, &lists, &images),
            7..=8 => inspect(&mut dice, &lists, &images),
            9..=10 => {
                let purge = if dice.rarely(3) { "--purge " } else { "" };
                format!("push --insecure {purge}{}", dice.pick(&lists))
            }
            _ => format!("rm {}", dice.pick(&lists)),
        };
        lines.push(line);
    }
    lines.extend(lists.iter().map(|list| format!("inspect --insecure -v {list}")));
    Scenario { mixed: true, ..Scenario::new(format!("seed {seed}"), &lines.join("\n")) }
}

fn image<'a>(dice: &mut Dice, images: &[&'a str]) -> &'a str {
    match dice.below(16) {
        0 => dice.pick(TROUBLE),
        1 => dice.pick(IMAGES),
        _ => dice.pick(images),
    }
}

fn create(dice: &mut Dice, lists: &[&str], images: &[&str]) -> String {
    let amend = if dice.rarely(2) { "--amend " } else { "" };
    let count = 1 + dice.below(4);
    let sources: Vec<&str> = (0..count).map(|_| image(dice, images)).collect();
    format!("create {{--strict}} --insecure {amend}{} {}", dice.pick(lists), sources.join(" "))
}

fn annotate(dice: &mut Dice, lists: &[&str], images: &[&str]) -> String {
    let mut line = format!("annotate {} {}", dice.pick(lists), image(dice, images));
    for (flag, values) in [
        ("os", &["linux", "windows", "freebsd", "nonsense", "''"][..]),
        ("arch", &["amd64", "arm64", "arm", "386", "z80"]),
        ("variant", &["v6", "v7", "v8", "'<&>'"]),
        ("os-version", &["1", "10.0.20348.1", "'a b'"]),
        ("os-features", &["a", "b,c", "a,a", "'\"x,y\"'"]),
    ] {
        if dice.rarely(3) {
            line.extend([" --", flag, " ", dice.pick(values)]);
        }
    }
    line
}

fn inspect(dice: &mut Dice, lists: &[&str], images: &[&str]) -> String {
    let verbose = if dice.rarely(2) { "-v " } else { "" };
    let what = match dice.below(3) {
        0 => dice.pick(lists).to_owned(),
        1 => format!("{} {}", dice.pick(lists), image(dice, images)),
        _ => image(dice, images).to_owned(),
    };
    format!("inspect --insecure {verbose}{what}")
}
