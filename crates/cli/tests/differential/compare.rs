//! Runs a scenario with both programs and compares what can be seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::deviations::{Difference, RULES};
use crate::sandbox::{POLYARCH, Run, Sandbox};
use crate::script::{Scenario, Step, file_name};
use crate::world::{State, World};

/// Files of the local store: mode and bytes by name; directories end with `/`.
pub(crate) type Store = BTreeMap<String, (u32, Vec<u8>)>;

/// All that can be seen after a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) store: Store,
    pub(crate) registry: State,
}

/// What came of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many commands each program ran.
    pub(crate) commands: usize,
    /// Rules that excused a difference.
    pub(crate) excused: Vec<&'static str>,
    /// The differences that they excused, in full.
    pub(crate) explained: Vec<String>,
    /// Differences that no rule excuses.
    pub(crate) differences: Vec<String>,
}

/// Runs a scenario.
pub(crate) fn run(scenario: &Scenario, world: &World, docker: &Path) -> Outcome {
    world.reset();
    let steps: Vec<Step> = scenario.lines.iter().map(|line| Step::read(line, world)).collect();
    let by_docker = play_docker(scenario, &steps, world, docker);
    let mut outcome = Outcome { commands: by_docker.iter().flatten().count(), ..Outcome::default() };
    play_again(scenario, &steps, world, &by_docker, &|_| None, &mut outcome);
    if scenario.mixed {
        // Both on one store: what one began the other finishes.
        play_again(scenario, &steps, world, &by_docker, &|n| (n % 2 == 0).then_some(docker), &mut outcome);
        play_again(scenario, &steps, world, &by_docker, &|n| (n % 2 == 1).then_some(docker), &mut outcome);
    }
    outcome
}

fn user(scenario: &Scenario, world: &World) -> Sandbox {
    world.reset();
    world.lab.set_quirks(scenario.quirks.clone());
    world.lab.set_auth(scenario.auth.clone());
    scenario.faults.iter().for_each(|fault| world.lab.fault(fault.clone()));
    let mut user = Sandbox::new();
    if let Some(authority) = world.lab.ca_pem_path() {
        user.set("SSL_CERT_FILE", authority);
    }
    if scenario.logged_in {
        // user:secret
        let config = serde_json::json!({"auths": {world.lab.host(): {"auth": "dXNlcjpzZWNyZXQ="}}});
        std::fs::write(user.path("docker/config.json"), config.to_string()).expect("a config file");
    }
    user
}

/// What was seen after each command; `None` for a line that is no command.
fn play_docker(scenario: &Scenario, steps: &[Step], world: &World, docker: &Path) -> Vec<Option<Seen>> {
    let user = user(scenario, world);
    let step = |step: &Step| match step {
        Step::Command { docker: words, .. } => {
            let mut seen = see(user.run(docker, &strs(words)), &user, world);
            seen.stderr = in_our_name(&seen.stderr);
            Some(seen)
        }
        other => {
            change(other, &user, world);
            None
        }
    };
    steps.iter().map(step).collect()
}

/// Plays it with polyarch, but for the lines where `docker` says otherwise, and compares with what docker alone did.
fn play_again<'a>(
    scenario: &Scenario,
    steps: &[Step],
    world: &World,
    by_docker: &[Option<Seen>],
    docker: &dyn Fn(usize) -> Option<&'a Path>,
    outcome: &mut Outcome,
) {
    let user = user(scenario, world);
    let mut store_before = Store::new();
    for (number, ((step, line), expected)) in steps.iter().zip(&scenario.lines).zip(by_docker).enumerate() {
        let (Step::Command { polyarch, docker: for_docker }, Some(expected)) = (step, expected) else {
            change(step, &user, world);
            store_before = read_store(&user);
            continue;
        };
        let (words, mut seen) = match docker(number) {
            Some(docker) => (for_docker, see(user.run(docker, &strs(for_docker)), &user, world)),
            None => (polyarch, see(user.run(POLYARCH, &strs(polyarch)), &user, world)),
        };
        if docker(number).is_some() {
            seen.stderr = in_our_name(&seen.stderr);
        }
        if seen != *expected {
            let scenario = &scenario.name;
            let difference =
                Difference { scenario, line, words, docker: expected, ours: &seen, store_before: &store_before };
            match RULES.iter().find(|rule| (rule.excuses)(&difference)) {
                Some(rule) => {
                    outcome.excused.push(rule.name);
                    outcome.explained.push(format!("{}\n{}", rule.name, describe(&difference)));
                }
                None => outcome.differences.push(describe(&difference)),
            }
            // From docker's state on: the next difference is another one.
            write_store(&user, &expected.store);
            world.restore(&expected.registry);
        }
        store_before.clone_from(&expected.store);
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Docker's usage errors name docker.
fn in_our_name(stderr: &str) -> String {
    let stderr = stderr.replace("docker manifest", "polyarch manifest");
    stderr.strip_prefix("docker: ").map(|rest| format!("polyarch: {rest}")).unwrap_or(stderr)
}

fn see(run: Run, user: &Sandbox, world: &World) -> Seen {
    Seen { code: run.code, stdout: run.stdout, stderr: run.stderr, store: read_store(user), registry: world.state() }
}

fn change(step: &Step, user: &Sandbox, world: &World) {
    let manifests = user.path("docker/manifests");
    match step {
        Step::Command { .. } => {}
        Step::Tag(repository, tag, from) => {
            let digest = world.lab.resolve(repository, from).expect("a tag to copy");
            world.lab.tag(repository, tag, &digest);
        }
        Step::Delete(repository, tag) => {
            let digest = world.lab.resolve(repository, tag).expect("a tag to delete");
            world.lab.delete(repository, &digest.to_string());
        }
        Step::DropLayer(repository, tag) => {
            let bytes = world.lab.manifest(repository, tag).expect("an image");
            let manifest: serde_json::Value = serde_json::from_slice(&bytes).expect("a manifest");
            let layer = manifest["layers"][0]["digest"].as_str().expect("a layer");
            world.lab.delete_blob(repository, &image::Digest::parse(layer).expect("a digest"));
        }
        Step::File(list, image, text) => {
            let directory = manifests.join(file_name(list));
            std::fs::create_dir_all(&directory).expect("a list");
            std::fs::write(directory.join(file_name(image)), text).expect("an image of a list");
        }
        Step::Empty(list) => std::fs::create_dir_all(manifests.join(file_name(list))).expect("a list"),
        Step::Plain(list) => {
            std::fs::create_dir_all(&manifests).expect("the store");
            std::fs::write(manifests.join(file_name(list)), "x").expect("a file");
        }
    }
}

/// Where lists are kept: in the user's configuration, and where scenarios put another one with `--config elsewhere`.
const STORES: [(&str, &str); 2] = [("", "docker/manifests"), ("elsewhere:", "here/elsewhere/manifests")];

fn read_store(user: &Sandbox) -> Store {
    use std::os::unix::fs::PermissionsExt as _;

    // Where the second of the stores is looked for: were it another directory, nothing would be seen there.
    assert!(user.path("here").is_dir());
    let mut store = Store::new();
    for (prefix, directory) in STORES {
        let root = user.path(directory);
        for (name, bytes) in crate::sandbox::tree(&root) {
            let mode = std::fs::metadata(root.join(&name)).map_or(0, |found| found.permissions().mode() & 0o777);
            store.insert(format!("{prefix}{name}"), (mode, bytes));
        }
    }
    store
}

fn write_store(user: &Sandbox, store: &Store) {
    for (_, directory) in STORES {
        // It may not be there.
        let _ = std::fs::remove_dir_all(user.path(directory));
    }
    for (name, (_, bytes)) in store {
        let elsewhere = STORES[1];
        let path = match name.strip_prefix(elsewhere.0) {
            Some(name) => user.path(elsewhere.1).join(name),
            None => user.path(STORES[0].1).join(name),
        };
        if name.ends_with('/') {
            std::fs::create_dir_all(path).expect("a directory of the store");
        } else {
            std::fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory of the store");
            std::fs::write(path, bytes).expect("a file of the store");
        }
    }
}

/// The difference for people: what is equal is not shown.
fn describe(difference: &Difference<'_>) -> String {
    let (docker, ours) = (difference.docker, difference.ours);
    let mut text = format!("  {}\n  as {:?}\n", difference.line, difference.words);
    let mut both = |what: &str, docker: &str, ours: &str| {
        if docker != ours {
            let indent = |text: &str| text.replace('\n', "\n      ");
            let _ = write!(
                text,
                "    {what}\n    docker:\n      {}\n    polyarch:\n      {}\n",
                indent(docker),
                indent(ours)
            );
        }
    };
    both("exit code", &format!("{:?}", docker.code), &format!("{:?}", ours.code));
    both("stdout", &docker.stdout, &ours.stdout);
    both("stderr", &docker.stderr, &ours.stderr);
    both("store", &show_store(&docker.store, &ours.store), &show_store(&ours.store, &docker.store));
    both(
        "registry",
        &show_registry(&docker.registry, &ours.registry),
        &show_registry(&ours.registry, &docker.registry),
    );
    text
}

fn show_store(store: &Store, other: &Store) -> String {
    let differing = store.iter().filter(|(name, file)| other.get(*name) != Some(file));
    let lines = differing.map(|(name, (mode, bytes))| format!("{mode:o} {name} {}", String::from_utf8_lossy(bytes)));
    lines.collect::<Vec<_>>().join("\n")
}

fn show_registry(state: &State, other: &State) -> String {
    let mut text = String::new();
    for (name, found) in &state.0 {
        let other = other.0.get(name).cloned().unwrap_or_default();
        for (tag, digest) in found.tags.iter().filter(|(tag, digest)| other.tags.get(*tag) != Some(digest)) {
            let _ = writeln!(text, "{name}:{tag} {digest}");
        }
        for (digest, (media_type, bytes)) in
            found.manifests.iter().filter(|(digest, _)| !other.manifests.contains_key(digest))
        {
            let _ = writeln!(text, "{name}@{digest} {media_type}\n{}", String::from_utf8_lossy(bytes));
        }
        for digest in found.blobs.difference(&other.blobs) {
            let _ = writeln!(text, "{name} blob {digest}");
        }
    }
    text
}
