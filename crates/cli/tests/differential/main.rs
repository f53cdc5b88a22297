//! Docker's CLI and polyarch through the same commands on the same registry: everything that can be seen from outside is
//! compared, and where polyarch means to differ a rule in `deviations` says how and why.
//!
//! For each scenario docker goes first, from a registry in a known state; then the registry is put back and polyarch does
//! the same. After every command these must be equal: exit code, stdout, stderr, every file of the local store with its
//! mode, and every tag, document and blob of every repository. Where a rule excuses a difference polyarch goes on from
//! docker's state, so that one difference does not hide the next.
//!
//! Generated scenarios are played twice more, with the two programs in turn on one store.
//!
//! `POLYARCH_DIFFERENTIAL_SEED` and `POLYARCH_DIFFERENTIAL_ROUNDS` choose other generated scenarios than the usual ones,
//! `POLYARCH_DIFFERENTIAL_ONLY` runs those whose name contains a text, `POLYARCH_DIFFERENTIAL_EXPLAIN` shows every
//! difference that a rule excuses.

#![cfg(unix)]

#[path = "../sandbox/mod.rs"]
mod sandbox;

mod compare;
mod deviations;
mod generate;
mod images;
mod scenarios;
mod script;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use compare::{Outcome, run};
use script::{Kind, Scenario};
use world::World;

/// How many scenarios are generated, and from which seed on, unless the environment says otherwise.
const ROUNDS: u64 = 60;
const SEED: u64 = 1;

/// Docker's CLI, if this machine has the version that is compared with: others word things differently, and older ones
/// know no OCI images.
fn docker() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join("docker")).find(|path| {
        let said = std::process::Command::new(path).arg("--version").output();
        said.is_ok_and(|said| said.stdout.starts_with(b"Docker version 28."))
    })
}

/// Not `eprintln!`: what a test did and what it skipped is to be seen also when it passes.
fn say(text: &str) {
    use std::io::Write as _;

    // There is nobody to tell that it could not be told.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn polyarch_does_what_docker_does() {
    let Some(docker) = docker() else {
        say("skipped: no docker CLI of version 28");
        return;
    };
    let seed = number("POLYARCH_DIFFERENTIAL_SEED", SEED);
    let rounds = number("POLYARCH_DIFFERENTIAL_ROUNDS", ROUNDS);
    let only = std::env::var("POLYARCH_DIFFERENTIAL_ONLY").unwrap_or_default();
    let written = scenarios::all();
    let names: std::collections::BTreeSet<&str> = written.iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(names.len(), written.len(), "two scenarios have one name");
    let mut scenarios = written;
    let written = scenarios.len();
    scenarios.extend((seed..seed + rounds).map(generate::scenario));
    scenarios.retain(|scenario| scenario.name.contains(&only));

    let next = AtomicUsize::new(0);
    let outcomes: Mutex<BTreeMap<usize, Outcome>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut worlds: BTreeMap<Kind, World> = BTreeMap::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(index) else { break };
                    let world = worlds.entry(scenario.kind).or_insert_with(|| World::new(scenario.kind));
                    let outcome = run(scenario, world, &docker);
                    outcomes.lock().unwrap().insert(index, outcome);
                }
            });
        }
    });
    report(&scenarios, &outcomes.into_inner().unwrap(), written, !only.is_empty());
}

fn report(scenarios: &[Scenario], outcomes: &BTreeMap<usize, Outcome>, written: usize, partial: bool) {
    let commands: usize = outcomes.values().map(|outcome| outcome.commands).sum();
    say(&format!("{} scenarios ran, {commands} commands with each program", outcomes.len()));
    let mut excused: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in outcomes.values().flat_map(|outcome| &outcome.excused) {
        *excused.entry(rule).or_default() += 1;
    }
    for (rule, count) in &excused {
        say(&format!("  deviates by design, {count} times: {rule}"));
    }
    if std::env::var_os("POLYARCH_DIFFERENTIAL_EXPLAIN").is_some() {
        for text in outcomes.values().flat_map(|outcome| &outcome.explained) {
            say(text);
        }
    }
    let failures: Vec<String> = outcomes
        .iter()
        .flat_map(|(index, outcome)| {
            outcome.differences.iter().map(|text| format!("in scenario `{}`:\n{text}", scenarios[*index].name))
        })
        .collect();
    assert!(failures.is_empty(), "{} differences\n\n{}", failures.len(), failures.join("\n\n"));
    if !partial {
        assert!(outcomes.len() >= 100 && written >= 60, "{} scenarios, {written} of them written", outcomes.len());
        let unused: Vec<&str> =
            deviations::RULES.iter().map(|rule| rule.name).filter(|name| !excused.contains_key(name)).collect();
        assert!(unused.is_empty(), "rules that excuse nothing: {unused:?}");
    }
}
