//! `history`, `restore` and `gc`, against a server of our own, one of others, and the local store.

#![cfg(unix)]

use lab::Lab;
use lab::images::{self, Flavour};
use serde_json::Value;

use crate::sandbox::{Run, Sandbox};
use crate::support::{AMD64, ARM64, Running, program};

/// A user with programs to pack.
fn user() -> Sandbox {
    let user = Sandbox::new();
    for seed in 1..=3 {
        std::fs::write(user.path(&format!("here/app{seed}")), program(AMD64, seed)).unwrap();
        std::fs::write(user.path(&format!("here/arm{seed}")), program(ARM64, seed)).unwrap();
    }
    user
}

/// Bytes that cannot be made fewer.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.take(length).collect()
}

/// Packs and pushes, and gives the digest.
fn push(user: &Sandbox, image: &str, seed: u8) -> String {
    let printed = user.words(&format!("pack --push -t {image} linux/amd64=app{seed} linux/arm64=arm{seed}")).success();
    printed.lines().last().unwrap().split('@').nth(1).unwrap().to_owned()
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.success()).unwrap()
}

fn moves(user: &Sandbox, image: &str) -> Vec<(Value, Value)> {
    let report = json(user.words(&format!("history --json {image}")));
    report.as_array().unwrap().iter().map(|step| (step["from"].clone(), step["to"].clone())).collect()
}

fn short(digest: &str) -> &str {
    &digest["sha256:".len()..][..12]
}

#[test]
fn a_tag_is_moved_back_and_forth() {
    let user = user();
    let (_server, host) = Running::serve(&user, "registry");
    let image = format!("{host}/app:v1");
    let (first, second) = (push(&user, &image, 1), push(&user, &image, 2));
    let (one, two) = (Value::from(first.as_str()), Value::from(second.as_str()));
    assert_eq!(moves(&user, &image), [(one.clone(), two.clone()), (Value::Null, one.clone())]);
    let shown = user.words(&format!("history {image}")).success();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("WHEN") && lines.len() == 3, "{shown}");
    assert!(lines[1].contains(&format!("   {}   {}   -", short(&first), short(&second))), "{shown}");
    assert_eq!(user.words(&format!("history -n 1 {image}")).success().lines().count(), 2);

    let dry = user.words(&format!("restore --dry-run {image}")).success();
    assert_eq!(dry, format!("would move {image} from {second} to {first}\n"));
    let run = user.words(&format!("restore {image}"));
    assert_eq!(run.stderr, format!("moved {image} from {second}\n"));
    assert_eq!(run.success(), format!("{image}@{first}\n"));
    assert_eq!(moves(&user, &image).len(), 3);
    // Once more is forth again; a digest may be cut short.
    user.words(&format!("restore {image}")).success();
    assert_eq!(user.words(&format!("restore --to {} {image}", short(&first))).success(), format!("{image}@{first}\n"));
    let run = user.words(&format!("restore --to {first} {image}"));
    assert_eq!(run.stderr, format!("{image} points there already\n"));
    let report = json(user.words(&format!("restore --json --to {second} {image}")));
    assert_eq!((&report["from"], &report["to"], &report["moved"]), (&one, &two, &Value::Bool(true)));

    // As of a time, to the millisecond.
    let times = json(user.words(&format!("history --json {image}")));
    let began = times.as_array().unwrap().last().unwrap()["at"].as_str().unwrap().to_owned();
    assert_eq!(user.words(&format!("restore --at {began} {image}")).success(), format!("{image}@{first}\n"));
    let early = user.words(&format!("restore --at 1000000000 {image}"));
    early.fails_with(
        3,
        &format!(
            "error: failed to restore `{image}`: there is no move of it at or before 2001-09-09T01:46:40.000Z\n\
             hint: `polyarch history {image}` shows where it pointed\n"
        ),
    );

    // What never was, and what is no tag.
    let never = user.words(&format!("history {host}/app:v2"));
    assert_eq!(never.code, Some(3), "{}", never.stderr);
    let never = user.words(&format!("restore --to {} {image}", "0".repeat(12)));
    assert_eq!(never.code, Some(3), "{}", never.stderr);
    assert_eq!(user.words(&format!("history {host}/app@{first}")).code, Some(2));
    assert_eq!(user.words("history oci:dir:v1").code, Some(2));
    let fresh = format!("{host}/app:fresh");
    push(&user, &fresh, 3);
    assert_eq!(user.words(&format!("restore {fresh}")).code, Some(3));
}

#[test]
fn an_index_of_which_something_is_gone_is_not_restored() {
    let user = user();
    let (_server, host) = Running::serve(&user, "registry");
    let image = format!("{host}/app:v1");
    let (first, second) = (push(&user, &image, 1), push(&user, &image, 2));
    let raw: Value =
        serde_json::from_str(&user.words(&format!("manifest inspect --raw {host}/app@{first}")).success()).unwrap();
    let child = raw["manifests"][1]["digest"].as_str().unwrap().to_owned();
    let database = rusqlite::Connection::open(user.path("here/registry/metadata.sqlite3")).unwrap();
    // As a deletion with `force` does it.
    for table in ["blob_edges", "tags", "condemned_documents"] {
        let delete = format!("DELETE FROM {table} WHERE document = (SELECT id FROM documents WHERE digest = ?1)");
        database.execute(&delete, [&child]).unwrap();
    }
    database.execute("DELETE FROM documents WHERE digest = ?1", [&child]).unwrap();
    let refused = user.words(&format!("restore {image}"));
    refused.fails_with(
        3,
        &format!(
            "error: failed to restore `{image}` to `{first}`: an image that it lists is gone: `{child}` (linux/arm64)\n\
             hint: push them again; `--sparse` restores the index without them\n"
        ),
    );
    assert_eq!(moves(&user, &image)[0].1, Value::from(second.as_str()));
    // And a manifest that is gone itself.
    database
        .execute("DELETE FROM child_edges WHERE parent = (SELECT id FROM documents WHERE digest = ?1)", [&first])
        .unwrap();
    database.execute("DELETE FROM documents WHERE digest = ?1", [&first]).unwrap();
    let refused = user.words(&format!("restore {image}"));
    refused.fails_with(
        3,
        &format!("error: failed to restore `{image}`: manifest `{first}` is gone\nhint: push it again, then tag it\n"),
    );
    let shown = user.words(&format!("history {image}")).success();
    assert!(shown.contains(&format!("{} (gone)", short(&first))), "{shown}");
}

#[test]
fn a_registry_of_others_keeps_no_history() {
    let lab = Lab::start();
    images::image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let user = Sandbox::new();
    for command in ["history", "restore", "restore --at 1000000000"] {
        let run = user.words(&format!("{command} {}", lab.reference("app", "v1")));
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let said = "not supported by the registry (it keeps no history of tags)\n\
                    hint: registries run by `polyarch serve` do\n";
        assert!(run.stderr.ends_with(said), "{}", run.stderr);
    }
    assert_eq!(lab.count_of("PUT", "/manifests/"), 0);
}

#[test]
fn the_local_store_has_a_history_too() {
    let user = user();
    let pack = |seed: u8| {
        let printed = user.words(&format!("pack -t app:v1 linux/amd64=app{seed} linux/arm64=arm{seed}")).success();
        printed.trim().split('@').nth(1).unwrap().to_owned()
    };
    let (first, second) = (pack(1), pack(2));
    assert_eq!(moves(&user, "local:app:v1").len(), 2);
    let name = "local:docker.io/library/app:v1";
    let dry = user.words("restore --dry-run local:app:v1").success();
    assert_eq!(dry, format!("would move {name} from {second} to {first}\n"));
    assert_eq!(user.words("restore local:app:v1").success(), format!("{name}@{first}\n"));
    // A tag that was removed is put back.
    user.words("rm app:v1").success();
    assert_eq!(user.words("restore local:app:v1").success(), format!("{name}@{first}\n"));
    assert!(user.words("images").success().contains(short(&first)));
    assert_eq!(user.words("history local:other").code, Some(3));
}

#[test]
fn garbage_goes_as_planned_while_the_server_runs() {
    let user = user();
    user.words("gc").fails_with(
        3,
        "error: failed to open the data directory `[ROOT]/data`: there is none\n\
         hint: name another one with `--data`\n",
    );
    let (_server, host) = Running::serve(&user, "registry");
    let image = format!("{host}/app:v1");
    let (first, second) = (push(&user, &image, 1), push(&user, &image, 2));
    let kept = user.words("gc --data registry").success();
    assert!(kept.contains("manifests kept: 1 with a tag, "), "{kept}");
    let all = "gc --data registry --keep-history 0s --keep-untagged 0s --keep-unused-blobs 0s --sweep-after 0s";
    let planned = user.words(&format!("{all} --dry-run")).success();
    assert!(planned.contains(&format!("condemn  manifest  {first} of app (")), "{planned}");
    assert!(planned.contains("): no tag, nothing needs it, last referred to "), "{planned}");
    assert!(planned.contains("would have condemned 3 manifests and "), "{planned}");
    let mut deleted = 0;
    for _ in 0..3 {
        let mut plan = json(user.words(&format!("{all} --dry-run --json")));
        let mut done = json(user.words(&format!("{all} --json")));
        for report in [&mut plan, &mut done] {
            let report = report.as_object_mut().unwrap();
            report.remove("dryRun").unwrap();
            for item in report["items"].as_array_mut().unwrap() {
                // It tells an age.
                item.as_object_mut().unwrap().remove("reason").unwrap();
            }
        }
        assert_eq!(plan, done);
        deleted += done["sweptDocuments"].as_u64().unwrap();
    }
    assert_eq!(deleted, 3);
    assert_eq!(user.words(&format!("restore {image}")).code, Some(3));
    user.words(&format!("pull {image} copy")).success();
    assert!(user.words(&format!("manifest inspect {host}/app@{second}")).code == Some(0));

    // The local store is in a directory of its own here. Nothing of it goes without a tag until that is asked for.
    user.words("rm copy").success();
    let all = all.replace(" --data registry", "");
    for _ in 0..3 {
        let kept = user.words(&all).success();
        assert!(kept.contains("of the local store without a tag"), "{kept}");
    }
    for _ in 0..3 {
        user.words(&format!("{all} --untagged")).success();
    }
    let empty = user.words(&all).success();
    assert!(empty.contains("kept: 1 with a tag, 2 that others need\n"), "{empty}");
}

#[test]
fn a_plan_of_garbage_clears_nothing_away() {
    use std::io::{Read as _, Write as _};

    let user = user();
    let (_server, host) = Running::serve(&user, "registry");
    let mut stream = std::net::TcpStream::connect(&host).unwrap();
    let close = "Content-Length: 0\r\nConnection: close\r\n\r\n";
    write!(stream, "POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: {host}\r\n{close}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let database = rusqlite::Connection::open(user.path("here/registry/metadata.sqlite3")).unwrap();
    // Long ago.
    assert_eq!(database.execute("UPDATE uploads SET updated_at = 0", []).unwrap(), 1);
    let sessions = || database.query_row("SELECT COUNT(*) FROM uploads", [], |row| row.get::<_, u64>(0)).unwrap();
    user.words("gc --data registry --dry-run").success();
    assert_eq!(sessions(), 1);
    user.words("gc --data registry").success();
    assert_eq!(sessions(), 0);
}

#[test]
fn damage_is_named_and_repaired_while_the_server_runs() {
    let user = user();
    let (_server, host) = Running::serve(&user, "registry");
    let image = format!("{host}/app:v1");
    std::fs::write(user.path("here/data"), noise(100_000)).unwrap();
    let pack = format!("pack --push -t {image} --file data:/data linux/amd64=app1");
    user.words(&pack).success();
    let sound = user.words("fsck --data registry").success();
    assert!(sound.starts_with("checked ") && sound.ends_with("): nothing is wrong\n"), "{sound}");

    let shards = std::fs::read_dir(user.path("here/registry/blobs/sha256")).unwrap();
    let blobs: Vec<_> = shards
        .flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    let [blob] = &blobs[..] else { panic!("{blobs:?}") };
    let digest = format!("sha256:{}", blob.file_name().unwrap().to_str().unwrap());
    std::fs::write(blob, "damage").unwrap();
    std::fs::write(user.path("here/registry/uploads/README"), "hello").unwrap();

    let found = user.words("fsck --data registry");
    assert_eq!(found.code, Some(7));
    assert!(found.stdout.contains(&format!("wrong: blob `{digest}` has the bytes of `sha256:")), "{}", found.stdout);
    assert!(found.stdout.contains("left over: `uploads/README` (5 B)\n"), "{}", found.stdout);
    let dry = user.words("fsck --data registry --repair --dry-run");
    assert_eq!(dry.code, Some(7));
    assert!(dry.stdout.contains("  would move the bytes to `quarantine/`"), "{}", dry.stdout);
    assert!(blob.exists() && !user.path("here/registry/quarantine").exists());
    assert_eq!(user.words("fsck --data registry --dry-run").code, Some(2));

    let repaired = user.words("fsck --data registry --repair --json");
    assert_eq!(repaired.code, Some(0), "{}", repaired.shown());
    let report: Value = serde_json::from_str(&repaired.stdout).unwrap();
    assert_eq!((&report["sound"], &report["problems"][0]["kind"]), (&Value::Bool(true), &"blobDamaged".into()));
    assert_eq!(
        (&report["problems"][0]["outcome"], &report["leftovers"][0]["outcome"]),
        (&"repaired".into(), &"repaired".into())
    );
    assert_eq!(std::fs::read_to_string(user.path("here/registry/quarantine/README")).unwrap(), "hello");
    let kept = user.path(&format!("here/registry/quarantine/{}", digest.replace(':', "-")));
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "damage");

    // The server tells whoever pulls, and takes the bytes anew. Its manifest is there, so they must be looked for.
    assert_eq!(user.words(&format!("pull --data fresh {image}")).code, Some(3));
    user.words(&format!("push --again {image}")).success();
    user.words(&format!("pull --data fresh {image}")).success();
    user.words("fsck --data registry").success();
}

/// Sends one request and gives the first line of the answer.
fn ask(host: &str, request: &str, body: &[u8]) -> String {
    use std::io::{Read as _, Write as _};

    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let length = body.len();
    write!(stream, "{request} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
        .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

/// Each of them used to be told as left over.
#[test]
fn files_of_deleted_blobs_are_counted_and_wait_for_the_next_collection() {
    let user = user();
    let (_server, host) = Running::serve(&user, "registry");
    let bytes = noise(100_000);
    let delete = |length: usize| {
        let digest = image::Digest::sha256(&bytes[..length]);
        let put = ask(&host, &format!("POST /v2/app/blobs/uploads/?digest={digest}"), &bytes[..length]);
        assert!(put.starts_with("HTTP/1.1 201 "), "{put}");
        let deleted = ask(&host, &format!("DELETE /v2/app/blobs/{digest}"), b"");
        assert!(deleted.starts_with("HTTP/1.1 202 "), "{deleted}");
    };
    let nothing = "checked 0 manifests and 0 blobs (0 B): nothing is wrong\n";
    delete(100_000);
    let one = user.words("fsck --data registry").success();
    assert_eq!(one, format!("1 file of a deleted blob (100.0 kB) waits for the next collection\n{nothing}"));
    delete(90_000);
    let two = user.words("fsck --data registry --repair").success();
    assert_eq!(two, format!("2 files of deleted blobs (190.0 kB) wait for the next collection\n{nothing}"));
    let report = json(user.words("fsck --data registry --json"));
    assert_eq!(report["deleted"], serde_json::json!({ "files": 2, "bytes": 190_000 }));
    assert_eq!(report["leftovers"], serde_json::json!([]));
    user.words("gc --data registry").success();
    assert_eq!(user.words("fsck --data registry").success(), nothing);
}
