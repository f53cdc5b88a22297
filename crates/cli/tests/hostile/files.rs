//! Files that are not what they should be: configuration, logins, drafts, the data directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use lab::Lab;

use crate::measured::measure;
use crate::sandbox::{POLYARCH, Run, Sandbox};
use crate::verdict::{decent, one_error, only_error};
use crate::world::{Doing, PASSWORD, World, basic, each};

/// What a file can hold that should hold JSON.
fn garbage() -> Vec<Vec<u8>> {
    vec![
        b"".to_vec(),
        b" \n".to_vec(),
        b"{".to_vec(),
        b"{bad".to_vec(),
        b"[]".to_vec(),
        b"7".to_vec(),
        b"\"\x1b[31m\"".to_vec(),
        b"\xff\xfe\x00\x01".to_vec(),
        b"\x00".repeat(4096),
        "[".repeat(200_000).into_bytes(),
        "{\"a\":".repeat(200_000).into_bytes(),
        format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20)).into_bytes(),
    ]
}

#[test]
fn references_that_are_none() {
    let world = World::open();
    let long = format!("{}:v1", "a/".repeat(300));
    let tag = format!("a:{}", "x".repeat(129));
    let references = [
        "",
        ":",
        "a b",
        "A",
        "a:",
        "a@",
        "a@sha256:abc",
        "a:tag:tag",
        "http://x/y",
        "a/",
        "/a",
        "../a",
        "a/../b",
        "a//b",
        "-a",
        "a:-",
        "oci",
        "local:",
        "local:A",
        "a\n",
        "a:\u{1b}[31m",
        "ä",
        "a@md5:d41d8cd98f00b204e9800998ecf8427e",
        &long,
        &tag,
        "127.0.0.1:99999999/a",
        "[::1/a",
        "127.0.0.1:x/a",
    ];
    let run = |arguments: &[&str]| {
        let run = world.user.polyarch(arguments);
        decent(&run);
        run
    };
    for reference in references {
        for arguments in [
            &["push", reference][..],
            &["pull", reference],
            &["tag", reference, "a"],
            &["tag", "a", reference],
            &["rm", reference],
            &["unpack", reference, "here"],
            &["pack", "-t", reference, "linux/amd64=x"],
        ] {
            // `oci` is a good name, of which there is no image and no binary.
            let run = run(arguments);
            assert!(matches!(run.code, Some(1..=3 | 5)), "{arguments:?}: {}", run.shown());
            let errors = run.stderr.lines().filter(|line| line.starts_with("error: ")).count();
            assert_eq!(errors, 1, "{arguments:?}: {}", run.shown());
            assert_eq!(run.stdout, "");
        }
        for arguments in [
            &["manifest", "create", reference, "a"][..],
            &["manifest", "create", "a", reference],
            &["manifest", "annotate", reference, "a"],
            &["manifest", "annotate", "a", reference],
            &["manifest", "inspect", reference],
            &["manifest", "push", reference],
            &["manifest", "rm", reference],
        ] {
            // A good name, and a flag.
            if reference == "oci" || reference == "-a" {
                continue;
            }
            let run = run(arguments);
            assert_eq!(run.code, Some(1), "{arguments:?}: {}", run.shown());
            // What was typed may have a line end of its own.
            if !reference.contains('\n') {
                only_error(&run, &[]);
            }
        }
    }
    world.nothing_half_done(Doing::Create);
}

#[test]
fn a_config_that_is_broken_is_told_once_and_survived() {
    let faults: Vec<Vec<u8>> = garbage()
        .into_iter()
        .skip(2)
        .chain([
            br#"{"auths":[]}"#.to_vec(),
            br#"{"auths":{"h":7}}"#.to_vec(),
            br#"{"auths":{"h":{"auth":7}}}"#.to_vec(),
            br#"{"auths":{"h":{"auth":"!!!"}}}"#.to_vec(),
            br#"{"auths":{"h":{"auth":"bm9jb2xvbg=="}}}"#.to_vec(),
            br#"{"credsStore":7}"#.to_vec(),
            br#"{"credHelpers":"x"}"#.to_vec(),
        ])
        .collect();
    each(&faults, |text| {
        let world = World::open();
        let path = world.user.path("docker/config.json");
        fs::write(&path, text).unwrap();
        for doing in [Doing::Create, Doing::Inspect, Doing::PushList, Doing::Pull, Doing::Push] {
            let run = world.run(doing);
            eprintln!("{doing:?} {:.60}\n{}", String::from_utf8_lossy(text), run.stderr);
            decent(&run);
            assert_eq!(run.code, Some(0), "{}", run.shown());
            // The file that is valid JSON and 5 MiB long is too long; that is a complaint too.
            let told = run.stderr.matches("WARNING: Error parsing config file").count();
            assert_eq!(told, 1, "{}", run.shown());
        }
        // Docker says it first, whatever is asked of `manifest`.
        for line in
            ["manifest", "manifest --help", "manifest create", "manifest odd", "manifest rm nope", "manifest ls"]
        {
            let run = world.user.words(line);
            decent(&run);
            assert!(run.stderr.starts_with("WARNING: Error parsing config file ("), "{line}: {}", run.shown());
            assert_eq!(run.stderr.matches("WARNING: ").count(), 1, "{line}: {}", run.shown());
        }
        // A login does not write over what it cannot read.
        let run = world.run(Doing::Login);
        decent(&run);
        assert!(matches!(run.code, Some(0 | 1)), "{}", run.shown());
        if run.code == Some(1) {
            assert_eq!(&fs::read(&path).unwrap(), text, "the file was changed");
            only_error(&run, &["config.json"]);
        }
    });
}

#[test]
fn other_places_of_logins_that_are_broken_are_told_and_survived() {
    let cases = garbage();
    each(&cases[2..], |text| {
        let mut world = World::open();
        world.lab.set_auth(basic());
        let path = world.user.path("auth.json");
        fs::write(&path, text).unwrap();
        world.user.set("REGISTRY_AUTH_FILE", &path);
        fs::write(world.user.path("docker/config.json"), "{}").unwrap();
        let run = world.run(Doing::Inspect);
        decent(&run);
        assert_eq!(run.stderr.matches("warning: credential file `").count(), 1, "{}", run.shown());
        one_error(&run, 1, &["no basic auth credentials"]);
    });
    for value in ["{bad", "[]", "7", "{\"auths\":7}", "{\"x\":1}", r#"{"auths":{"h":{"auth":"!!!"}}}"#, "\u{1b}[31m"] {
        let mut world = World::open();
        world.user.set("DOCKER_AUTH_CONFIG", value);
        world.lab.set_auth(basic());
        let run = world.run(Doing::Inspect);
        decent(&run);
        assert_eq!(run.code, Some(0), "{}", run.shown());
        assert!(run.stderr.contains("Failed to create credential store from DOCKER_AUTH_CONFIG:"), "{}", run.shown());
    }
    // Nothing that is quoted of it holds a secret.
    let mut world = World::open();
    world.user.set("DOCKER_AUTH_CONFIG", format!("{{\"auths\":{{\"h\":{{\"auth\":\"{PASSWORD}\"}}}}}}"));
    decent(&world.run(Doing::Inspect));
}

/// A program of the user's that says `script`.
pub(crate) fn helper(user: &mut Sandbox, script: &str) {
    let directory = user.path("bin");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("docker-credential-x");
    fs::write(directory.join("text"), format!("#!/bin/sh\n{script}\n")).unwrap();
    // Copied by a child: a file that this process wrote may still be open in a fork of another test.
    let copied = std::process::Command::new("cp").arg(directory.join("text")).arg(&path).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let search = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    user.set("PATH", search);
    fs::write(user.path("docker/config.json"), r#"{"credsStore":"x"}"#).unwrap();
}

#[test]
fn helpers_that_talk_nonsense_are_told_and_never_quoted() {
    let secret = format!(r#"{{"Username":"user","Secret":"{PASSWORD}""#);
    let cases: Vec<(String, &str)> = vec![
        ("exit 0".into(), "nothing"),
        ("echo; exit 0".into(), "nothing"),
        ("echo hello".into(), "invalid character 'h'"),
        (format!("printf '%s' '{secret}'"), "unexpected EOF"),
        (format!("printf '%s' '[{secret}}}]'"), "type array"),
        (r#"echo '{"Username":7,"Secret":"x"}'"#.into(), "`Username` is no string"),
        (r"printf '\033[31mlocked\a'; exit 1".into(), "locked"),
        ("exit 70".into(), "exit status: 70"),
        ("kill -9 $$".into(), "signal"),
        ("yes".into(), "1 MiB"),
        (r"printf '{\000}'".into(), "invalid character"),
    ];
    each(&cases, |(script, says)| {
        let mut world = World::open();
        world.lab.set_auth(basic());
        helper(&mut world.user, script);
        for doing in [Doing::Create, Doing::Pull] {
            let measured = world.measure(doing);
            eprintln!("{script}\n{}", measured.run.stderr);
            assert!(measured.run.stderr.contains("warning: credential helper `docker-credential-x`"), "{script}");
            assert!(measured.run.stderr.contains(says), "{says}: {}", measured.run.shown());
            one_error(&measured.run, doing.code(4), &["no basic auth credentials"]);
            assert!(measured.took < Duration::from_secs(5));
        }
        // And what it does not keep is not kept anywhere else.
        if script.contains("exit 70") {
            let before = fs::read(world.user.path("docker/config.json")).unwrap();
            let run = world.run(Doing::Login);
            one_error(&run, 1, &["docker-credential-x"]);
            assert_eq!(fs::read(world.user.path("docker/config.json")).unwrap(), before);
        }
    });
}

#[test]
fn a_helper_is_told_secrets_on_its_input_alone() {
    let mut world = World::open();
    world.lab.set_auth(basic());
    let log = world.user.path("log");
    helper(
        &mut world.user,
        &format!(
            "{{ tr '\\0' ' ' < /proc/$$/cmdline; echo \"$@\"; env; }} >> {}\ncase $1 in get) echo credentials not found in \
             native keychain; exit 1;; esac\ncat > /dev/null",
            log.display()
        ),
    );
    world.run(Doing::Login).success();
    let seen = fs::read_to_string(&log).unwrap();
    assert!(seen.contains("store") && !seen.contains(PASSWORD), "{seen}");
}

/// It used to be cut at a megabyte, and what was left was tried.
#[test]
fn a_password_that_is_none_is_not_tried() {
    let world = World::open();
    world.lab.set_auth(basic());
    let host = world.lab.host();
    let long = "x".repeat(3 << 20);
    for (password, says) in [(long.as_str(), "more than 1 MiB"), ("", "empty"), ("\n", "empty")] {
        let run = world.user.polyarch_reading(&["login", "-u", "user", "--password-stdin", &host], password);
        one_error(&run, 2, &[says]);
    }
    for username in ["", "a:b", "a\n"] {
        let run = world.user.polyarch_reading(&["login", "-u", username, "--password-stdin", &host], PASSWORD);
        decent(&run);
        assert!(matches!(run.code, Some(1 | 2 | 4)), "{}", run.shown());
        only_error(&run, &[]);
    }
    assert!(!fs::read_to_string(world.user.path("docker/config.json")).unwrap().contains("xxxx"));
}

/// What can stand where docker keeps an image of a list.
#[test]
fn drafts_that_are_damaged_are_said_to_be_and_can_be_removed() {
    type Damage = Box<dyn Fn(&Path) + Send + Sync>;
    let write = |bytes: Vec<u8>| -> Damage { Box::new(move |file| fs::write(file, &bytes).unwrap()) };
    let edit = |from: &'static str, to: String| -> Damage {
        Box::new(move |file| {
            let text = fs::read_to_string(file).unwrap();
            let edited = text.replacen(from, &to, 1);
            assert_ne!(text, edited);
            fs::write(file, edited).unwrap();
        })
    };
    let mut cases: Vec<Damage> = garbage().into_iter().map(write).collect();
    cases.push(write(b"{}".to_vec()));
    cases.push(write(b"null".to_vec()));
    cases.push(edit("\"Raw\":\"", "\"Raw\":\"!".to_owned()));
    cases.push(edit("\"digest\":\"sha256:", "\"digest\":\"sha256:../../".to_owned()));
    cases.push(edit("\"size\":", "\"size\":-".to_owned()));
    cases.push(edit("\"Ref\":\"", "\"Ref\":\"../../../".to_owned()));
    cases.push(edit("\"Ref\":\"", "\"Ref\":\"\\u001b[31m".to_owned()));
    cases.push(edit("\"Descriptor\":{", "\"Descriptor\":[{".to_owned()));
    cases.push(Box::new(|file| {
        // More than any memory, though not on the disk.
        fs::File::create(file).unwrap().set_len(1 << 40).unwrap();
    }));
    cases.push(Box::new(|file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }));
    cases.push(Box::new(|file| {
        fs::remove_file(file).unwrap();
        symlink("/dev/zero", file).unwrap();
    }));
    cases.push(Box::new(|file| {
        fs::remove_file(file).unwrap();
        // Nobody writes into it: whoever waits for a writer waits for ever.
        assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
    }));
    cases.push(Box::new(|file| {
        fs::remove_file(file).unwrap();
        symlink(file, file).unwrap();
    }));
    let numbered: Vec<(usize, Damage)> = cases.into_iter().enumerate().collect();
    each(&numbered, |(number, damage)| {
        let world = World::open();
        let directory =
            world.user.path("docker/manifests").join(world.at("lists:v1").replace(':', "-").replace('/', "_"));
        let file = directory.join(world.at("app:v1").replace(':', "-").replace('/', "_"));
        damage(&file);
        let (list, image) = (world.at("lists:v1"), world.at("app:v1"));
        let run = |arguments: &[&str]| {
            let measured = measure(&world.user, arguments);
            eprintln!("{number} {}: {:.1500}", measured.run.line, measured.run.shown());
            decent(&measured.run);
            // A draft is read whole: some copies of its longest file, and never more.
            assert!(measured.peak < 80 << 20, "{number}: {} kB", measured.peak / 1024);
            assert!(measured.took < Duration::from_secs(10), "{number} {:?}", measured.took);
            measured.run
        };
        for arguments in [
            &["manifest", "push", &list][..],
            &["manifest", "create", "--amend", &list, &world.at("other:v1")],
            &["manifest", "annotate", &list, &image, "--arch", "arm64"],
            &["manifest", "inspect", &list, &image],
            &["manifest", "rm", &list, "--entry", &image],
        ] {
            let run = run(arguments);
            one_error(&run, 1, &[file.file_name().unwrap().to_str().unwrap()]);
            assert!(run.stderr.contains("is damaged") || run.stderr.contains("cannot read"), "{}", run.shown());
        }
        // Docker asks the registry then; what it says of the draft is a note.
        let inspected = run(&["manifest", "inspect", &list]);
        one_error(&inspected, 1, &[]);
        let listed = run(&["manifest", "ls"]);
        assert_eq!(listed.code, Some(0));
        assert_eq!(listed.stderr.lines().filter(|line| line.starts_with("warning: ")).count(), 1, "{}", listed.shown());
        run(&["manifest", "rm", &list]).success();
        assert!(!directory.exists());
        assert_eq!(world.lab.count_of("PUT", ""), 0);
    });
}

/// A disk that takes no more, as a limit on the length of a file: what is too long for it cannot be written.
#[test]
fn without_room_nothing_is_half_done() {
    let world = World::open();
    let long = "x".repeat(200 << 10);
    lab::images::maker("linux/arm64").size(300_000).annotation("long", &long).make().push(
        &world.lab,
        "large",
        Some("v1"),
    );
    let limited = |arguments: &[&str]| -> Run {
        let mut words = vec!["-c", "trap '' XFSZ; ulimit -f 160; exec \"$0\" \"$@\"", POLYARCH];
        words.extend(arguments);
        let run = world.user.run("bash", &words);
        eprintln!("{}", run.shown());
        Run { line: arguments.join(" "), ..run }
    };
    let (list, large, small) = (world.at("made:v1"), world.at("large:v1"), world.at("other:v1"));
    let directory = world.user.path("docker/manifests").join(list.replace(':', "-").replace('/', "_"));
    one_error(&limited(&["manifest", "create", &list, &small, &large]), 1, &["File too large"]);
    assert!(!directory.exists());
    world.user.polyarch(&["manifest", "create", &list, &world.at("app:v1")]).success();
    let before = crate::sandbox::tree(&directory);
    one_error(&limited(&["manifest", "create", "--amend", &list, &small, &large]), 1, &["File too large"]);
    assert_eq!(crate::sandbox::tree(&directory), before);
    world.user.polyarch(&["manifest", "rm", &list]).success();
    // The blob is what is too long, not the database or its log.
    world.user.polyarch(&["pull", &small]).success();
    world.user.polyarch(&["rm", &small]).success();
    empty_log(&database(&world.user.path("data")));
    let pulled = limited(&["pull", &large, &world.at("new:v1")]);
    one_error(&pulled, 1, &["File too large"]);
    world.nothing_half_done(Doing::Pull);
}

/// Brings into the database what the last process left in its log.
fn empty_log(database: &Path) {
    let database = rusqlite::Connection::open(database).unwrap();
    let busy = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    assert_eq!(busy, Ok(0));
}

/// The database of the data directory, and what stands in its place.
#[test]
fn a_data_directory_that_is_damaged_is_said_to_be() {
    type Damage = Box<dyn Fn(&Path) + Send + Sync>;
    let cases: Vec<(&str, Damage)> = vec![
        (
            "garbage",
            Box::new(|file| fs::write(file, b"not a database, and long enough to be one".repeat(1000)).unwrap()),
        ),
        ("zeros", Box::new(|file| fs::write(file, vec![0; 65536]).unwrap())),
        (
            "another",
            Box::new(|file| {
                // The header of a database, then nonsense.
                let mut bytes = fs::read(file).unwrap();
                bytes[100..].fill(0x5a);
                fs::write(file, bytes).unwrap();
            }),
        ),
        (
            "half",
            Box::new(|file| {
                let length = fs::metadata(file).unwrap().len();
                fs::File::options().write(true).open(file).unwrap().set_len(length / 2 / 4096 * 4096 + 100).unwrap();
            }),
        ),
        (
            "newer",
            Box::new(|file| {
                // `PRAGMA user_version`, bytes 60 to 63 of the header.
                let mut bytes = fs::read(file).unwrap();
                bytes[60..64].copy_from_slice(&9999_u32.to_be_bytes());
                fs::write(file, bytes).unwrap();
            }),
        ),
        (
            "directory",
            Box::new(|file| {
                fs::remove_file(file).unwrap();
                fs::create_dir(file).unwrap();
            }),
        ),
    ];
    each(&cases, |(name, damage)| {
        let world = World::open();
        let data = world.user.path("data");
        let database = database(&data);
        empty_log(&database);
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{beside}", database.display()));
        }
        damage(&database);
        let fresh = world.at("fresh:v1");
        for arguments in [
            &["images"][..],
            &["pull", &world.at("app:v1")],
            &["push", &fresh],
            &["tag", &fresh, "other"],
            &["rm", &fresh],
            &["serve", "--listen", "127.0.0.1:0"],
            &["manifest", "create", "list", &format!("local:{fresh}")],
        ] {
            let measured = measure(&world.user, arguments);
            eprintln!("{name}: {}\n{}", measured.run.line, measured.run.stderr);
            measured.within_memory();
            one_error(&measured.run, 1, &[]);
            assert!(measured.took < Duration::from_secs(15));
            if *name == "newer" {
                assert!(measured.run.stderr.contains("9999"), "{}", measured.run.shown());
            }
        }
        assert!(!world.user.path("docker/manifests/docker.io_library_list-latest").exists());
    });
}

/// The one file of the data directory that is a database.
fn database(data: &Path) -> std::path::PathBuf {
    let found: Vec<_> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && fs::read(path).unwrap().starts_with(b"SQLite format 3\0"))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// A blob whose bytes were changed on the disk is not passed on.
#[test]
fn a_blob_that_went_bad_on_the_disk_is_not_pushed() {
    let world = World::open();
    // Not so small that it is kept in the database.
    let image = lab::images::maker("linux/arm64").size(300_000).seed(5).make();
    image.push(&world.lab, "large", Some("v1"));
    world.user.polyarch(&["pull", &world.at("large:v1"), &world.at("fresh:v1")]).success();
    // Else the registry would find them itself.
    for (descriptor, _) in &image.blobs {
        world.lab.delete_blob("large", &descriptor.digest);
    }
    world.lab.clear_log();
    let blobs = world.user.path("data/blobs");
    let mut changed = 0;
    for (name, bytes) in crate::sandbox::tree(&blobs) {
        if !name.ends_with('/') && bytes.len() > 900 {
            let path = blobs.join(&name);
            let mut permissions = fs::metadata(&path).unwrap().permissions();
            permissions.set_mode(0o644);
            fs::set_permissions(&path, permissions).unwrap();
            let mut bytes = bytes;
            bytes[500] ^= 1;
            fs::write(&path, bytes).unwrap();
            changed += 1;
        }
    }
    assert!(changed > 0);
    let run = world.run(Doing::Push);
    one_error(&run, 7, &["digest"]);
    assert_eq!(world.lab.count_of("PUT", "/manifests/"), 0, "{:#?}", world.lab.lines());
    assert!(world.lab.tags("fresh").is_empty());
}

#[test]
fn directories_that_are_none_are_said_to_be() {
    let world = World::open();
    let file = world.user.path("here/file");
    fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    let image = world.at("app:v1");
    let run = |arguments: &[&str]| -> Run {
        let run = world.user.polyarch(arguments);
        eprintln!("{}: {}", run.line, run.shown());
        decent(&run);
        run
    };
    one_error(&run(&["--data", file, "pull", &image]), 1, &["file"]);
    one_error(&run(&["--data", file, "images"]), 1, &["file"]);
    one_error(&run(&["--data", file, "serve", "--listen", "127.0.0.1:0"]), 1, &["file"]);
    one_error(&run(&["--config", file, "manifest", "create", &world.at("new:v1"), &image]), 1, &["file"]);
    one_error(&run(&["--config", file, "manifest", "ls"]), 1, &["file"]);
    // What was learnt is a help, not a need.
    let mut user = Sandbox::new();
    user.set("POLYARCH_CACHE", file);
    user.polyarch(&["pull", &image]).success();
    for text in garbage() {
        let user = Sandbox::new();
        fs::create_dir(user.path("cache")).unwrap();
        fs::write(user.path("cache/registries.json"), text).unwrap();
        let run = user.polyarch(&["pull", &image]);
        decent(&run);
        run.success();
    }
    // The list is pushed, and that is said.
    let run = run(&["manifest", "push", "--digest-file", "/nowhere/digest", &world.at("lists:v1")]);
    assert_eq!(run.code, Some(1));
    only_error(&run, &["the list was pushed, but `/nowhere/digest` could not be written"]);
    assert!(world.lab.resolve("lists", "v1").is_some());
}

#[test]
fn variables_that_make_no_sense_are_told_and_survived() {
    let world = World::open();
    let image = world.at("app:v1");
    for (name, value) in [
        ("HTTP_PROXY", "http://user:hunter2-pa55word@[::"),
        ("HTTPS_PROXY", "\u{1b}[31m"),
        ("ALL_PROXY", "hunter2-pa55word@:::"),
    ] {
        let mut user = Sandbox::new();
        user.set(name, value);
        let run = user.polyarch(&["pull", &image]);
        decent(&run);
        assert_eq!(run.code, Some(0), "{}", run.shown());
        let warning = format!("warning: `{name}` is not the address of a proxy; going without it\n");
        assert_eq!(run.stderr.matches(&warning).count(), 1, "{}", run.shown());
    }
    let lab = Lab::builder().tls(true).start();
    let mut user = Sandbox::new();
    for (name, value) in [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/nowhere"), ("POLYARCH_LOG", "\u{1b}=[")] {
        user.set(name, value);
    }
    let run = user.polyarch(&["pull", &lab.reference("app", "v1")]);
    one_error(&run, 3, &["not found"]);
    assert!(user.command(POLYARCH, &["version"]).env("SOURCE_DATE_EPOCH", "x").output().unwrap().status.success());
}
