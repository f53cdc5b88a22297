//! `polyarch serve` with users, rules and TLS, as people and machines meet it.

#![cfg(unix)]

use std::io::Write as _;

use crate::sandbox::{Sandbox, tree};
use crate::support::{AMD64, Running, eventually, program};

/// Everybody may read what is public, and bob may do everything.
const POLICY: &str = "\
[[rules]]
identities = [\"anonymous\"]
repositories = [\"public/**\"]
actions = [\"pull\"]

[[rules]]
identities = [\"bob\"]
repositories = [\"**\"]
actions = [\"admin\"]
";

/// A user, and a server with TLS that knows bob, whose password is `secret`.
struct World {
    user: Sandbox,
    server: Running,
    host: String,
}

fn world(flags: &str) -> World {
    let mut user = Sandbox::new();
    std::fs::write(user.path("here/amd64"), program(AMD64, 1)).unwrap();
    std::fs::write(user.path("here/policy.toml"), POLICY).unwrap();
    user.polyarch_reading(&["htpasswd", "bob", "--password-stdin", "--add-to", "users"], "secret\n").success();
    let line = format!("serve --listen 127.0.0.1:0 --data registry --htpasswd users --policy policy.toml {flags}");
    let mut server = Running::start(&user, &line);
    let line = server.line();
    let host = line.strip_prefix("listening on https://").or(line.strip_prefix("listening on http://"));
    let host = host.unwrap_or_else(|| panic!("it said: {line}")).to_owned();
    user.set("SSL_CERT_FILE", user.path("here/registry/tls/cert.pem"));
    World { user, server, host }
}

impl World {
    fn log_in(&self) {
        let line = ["login", "-u", "bob", "--password-stdin", &self.host];
        self.user.polyarch_reading(&line, "secret").success();
    }

    fn inspects(&self, repository: &str) -> bool {
        self.user.words(&format!("manifest inspect {}/{repository}:v1", self.host)).code == Some(0)
    }

    fn push(&self, repository: &str) {
        let image = format!("{}/{repository}:v1", self.host);
        self.user.polyarch(&["pack", "--push", "-t", &image, "linux/amd64=amd64"]).success();
    }
}

#[test]
fn over_tls_a_user_logs_in_pushes_and_pulls_and_others_do_what_the_rules_say() {
    let mut world = world("--tls-self-signed");
    assert_eq!(
        world.server.line(),
        format!("note: clients must trust `{}`", world.user.path("here/registry/tls/cert.pem").display())
    );
    let refused = world.user.polyarch(&["pack", "--push", "-t", &format!("{}/a:v1", world.host), "linux/amd64=amd64"]);
    assert_eq!(refused.code, Some(4), "{}", refused.shown());
    world.log_in();
    world.push("public/app");
    world.push("private/app");
    world.user.words(&format!("pull {}/private/app:v1", world.host)).success();

    // The key of tokens and the key of the certificate are their owner's alone.
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(world.user.path(path)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("here/registry/token-key.pem"), 0o600);
    assert_eq!(mode("here/registry/tls/key.pem"), 0o600);

    world.user.words(&format!("logout {}", world.host)).success();
    assert!(world.inspects("public/app"));
    assert!(!world.inspects("private/app"));
    let wrong = world.user.polyarch_reading(&["login", "-u", "bob", "--password-stdin", &world.host], "guess");
    assert_eq!(wrong.code, Some(4), "{}", wrong.shown());

    // The certificate is the same after a restart: clients need not be told again.
    let before = tree(&world.user.path("here/registry/tls"));
    world.server.signal("TERM");
    assert_eq!(world.server.end().0, Some(0));
    let line = "serve --listen 127.0.0.1:0 --data registry --htpasswd users --tls-self-signed";
    let mut again = Running::start(&world.user, line);
    assert!(again.line().starts_with("listening on https://127.0.0.1:"));
    assert_eq!(before, tree(&world.user.path("here/registry/tls")));
}

#[test]
fn tokens_are_made_and_taken() {
    let mut user = Sandbox::new();
    std::fs::write(user.path("here/amd64"), program(AMD64, 1)).unwrap();
    let token = user.words("token ci --add-to tokens").success();
    let both = user.words("token ci").success();
    assert!(both.lines().count() == 2 && both.lines().nth(1).unwrap().starts_with("ci:sha256:"), "{both}");
    let mut server = Running::start(&user, "serve --listen 127.0.0.1:0 --data registry --tokens tokens");
    let host = server.line().strip_prefix("listening on http://").unwrap().to_owned();
    let unknown =
        user.polyarch_reading(&["login", "-u", "ci", "--password-stdin", &host], both.lines().next().unwrap());
    assert_eq!(unknown.code, Some(4), "{}", unknown.shown());
    assert_eq!(user.words(&format!("manifest inspect {host}/app:v1")).code, Some(1));
    user.polyarch_reading(&["login", "-u", "ci", "--password-stdin", &host], &token).success();
    user.polyarch(&["pack", "--push", "-t", &format!("{host}/app:v1"), "linux/amd64=amd64"]).success();
    user.set("POLYARCH_LOG", "");
    server.signal("TERM");
    let (code, said, _) = server.end();
    assert_eq!(code, Some(0));
    assert!(!said.contains(token.trim()), "{said}");
}

#[test]
fn users_and_tokens_are_planned_without_being_written() {
    let user = Sandbox::new();
    let line = ["htpasswd", "bob", "--password-stdin", "--add-to", "users", "--dry-run"];
    let said = user.polyarch_reading(&line, "secret\n").success();
    assert_eq!(said, "would put the line of `bob` into `users`\n");
    assert_eq!(user.words("token ci --add-to users --dry-run").success(), "would add a token of `ci` to `users`\n");
    assert!(!user.path("here/users").exists());
    // Without a file nothing is written anyway.
    assert_eq!(user.words("token ci --dry-run").code, Some(2));
    assert_eq!(user.words("htpasswd bob --dry-run").code, Some(2));
}

#[test]
fn rules_change_while_it_runs_and_broken_ones_change_nothing() {
    let mut world = world("");
    world.log_in();
    world.push("team/app");
    world.user.words(&format!("logout {}", world.host)).success();
    assert!(!world.inspects("team/app"));
    let policy = world.user.path("here/policy.toml");
    let shown = policy.display().to_string();

    // SIGHUP: at once.
    std::fs::write(&policy, POLICY.replace("public/**", "**")).unwrap();
    world.server.signal("HUP");
    assert_eq!(world.server.line(), format!("note: took the policy `{shown}` as it is now"));
    assert!(world.inspects("team/app"));

    std::fs::write(&policy, POLICY.replace("identities", "identitys")).unwrap();
    world.server.signal("HUP");
    assert_eq!(
        world.server.line(),
        format!(
            "warning: failed to read the policy `{shown}`: rule 1: unknown key `identitys`; did you mean `identities`?; \
             the rules stay as they were"
        )
    );
    assert!(world.inspects("team/app"));

    // By itself, a little later.
    std::fs::write(&policy, POLICY).unwrap();
    eventually("the new policy", || !world.inspects("team/app"));
    assert_eq!(world.server.line(), format!("note: took the policy `{shown}` as it is now"));

    // Users too: bob is gone, and what he got before is worth nothing.
    world.log_in();
    assert!(world.inspects("team/app"));
    std::fs::OpenOptions::new().write(true).truncate(true).open(world.user.path("here/users")).unwrap();
    eventually("bob is gone", || !world.inspects("team/app"));
    let mut users = std::fs::OpenOptions::new().append(true).open(world.user.path("here/users")).unwrap();
    users.write_all(b"bob:secret\n").unwrap();
    world.server.signal("HUP");
    assert_eq!(world.server.line(), "note: took the users and tokens as they are now");
    let warning = world.server.line();
    assert!(warning.contains("line 1: the password of `bob` is not hashed by bcrypt"), "{warning}");
}

#[test]
fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let mut world = world("--tls-self-signed");
    world.server.line();
    let certificate = world.user.path("here/registry/tls/cert.pem");
    let old = std::fs::read_to_string(&certificate).unwrap();
    std::fs::write(&certificate, "nothing").unwrap();
    world.server.signal("HUP");
    assert_eq!(
        world.server.line(),
        "warning: the certificate is not PEM with `BEGIN CERTIFICATE`; the certificate stays as it was"
    );
    std::fs::write(&certificate, &old).unwrap();
    world.log_in();

    // That of another server, which this user trusts from now on.
    let line = "serve --listen 127.0.0.1:0 --data other --tls-self-signed";
    Running::start(&world.user, line).line();
    for name in ["cert.pem", "key.pem"] {
        let new = std::fs::read(world.user.path(&format!("here/other/tls/{name}"))).unwrap();
        std::fs::write(world.user.path(&format!("here/registry/tls/{name}")), new).unwrap();
    }
    world.server.signal("HUP");
    eventually("the new certificate", || {
        let line = ["login", "-u", "bob", "--password-stdin", &world.host];
        world.user.polyarch_reading(&line, "secret").code == Some(0)
    });
    assert_ne!(std::fs::read_to_string(&certificate).unwrap(), old);
}

#[test]
fn elsewhere_than_on_loopback_it_wants_to_know_who_may() {
    let user = Sandbox::new();
    let line = user.polyarch_reading(&["htpasswd", "bob", "--password-stdin"], "secret").success();
    assert!(line.starts_with("bob:$2b$"), "{line}");
    std::fs::write(user.path("here/users"), line).unwrap();
    let mut server = Running::start(&user, "serve --listen 0.0.0.0:0 --htpasswd users");
    assert!(server.line().starts_with("listening on http://0.0.0.0:"));
    assert!(server.line().starts_with("note: passwords come as they are"));
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_file_of_users_that_is_wrong_stops_the_start() {
    let user = Sandbox::new();
    std::fs::write(user.path("here/users"), "bob:secret\n").unwrap();
    let refused = user.words("serve --listen 127.0.0.1:0 --htpasswd users");
    assert_eq!(refused.code, Some(7), "{}", refused.shown());
    assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
    let missing = user.words("serve --listen 127.0.0.1:0 --policy nothing.toml");
    assert_eq!(missing.code, Some(1), "{}", missing.shown());
    for (name, password) in [("a:b", "x"), ("bob", ""), ("*", "x")] {
        assert_eq!(user.polyarch_reading(&["htpasswd", name, "--password-stdin"], password).code, Some(2));
    }
}
