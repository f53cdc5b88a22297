//! `login` and `logout`.

use lab::{Auth, Lab};

use crate::transcript::Transcript;

#[test]
fn login_and_logout() {
    let lab = Lab::builder().auth(Auth::bearer("user", "secret")).start();
    lab::images::image("linux/amd64", 1, lab::images::Flavour::Oci).push(&lab, "app", Some("v1"));
    let mut t = Transcript::new("login");
    t.call(lab.host(), "REGISTRY");
    t.about("A login that the registry refuses is not kept.");
    t.run_reading("login -u user --password-stdin REGISTRY", "wrong\n");
    assert!(!t.user.path("docker/config.json").exists());
    t.run_reading("login -u user --password-stdin --dry-run REGISTRY", "secret\n");
    assert!(!t.user.path("docker/config.json").exists());
    t.about("One that it takes is kept, and used.");
    t.run_reading("login -u user --password-stdin http://REGISTRY/v2/", "secret\n");
    t.run("manifest inspect REGISTRY/app:v1");
    let config = std::fs::read_to_string(t.user.path("docker/config.json")).unwrap();
    assert!(config.contains("dXNlcjpzZWNyZXQ="), "{config}");
    t.run("logout --dry-run REGISTRY");
    t.run("logout REGISTRY");
    t.run("logout REGISTRY");
    t.run("logout --dry-run REGISTRY");
    t.about("Without a terminal nobody can be asked.");
    t.run("login REGISTRY");
    t.run("login -u user REGISTRY");
    t.run_reading("login -u user --password-stdin REGISTRY", "\n");
    t.run("login -u user 'a b'");
    t.finish();
}

#[cfg(unix)]
#[test]
fn a_login_is_kept_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let lab = Lab::builder().auth(Auth::basic("user", "secret")).start();
    let user = crate::sandbox::Sandbox::new();
    let host = lab.host();
    user.polyarch_reading(&["login", "-u", "user", "--password-stdin", &host], "secret").success();
    let mode = std::fs::metadata(user.path("docker/config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_broken_config_is_warned_about_and_survived() {
    let lab = Lab::start();
    lab::images::image("linux/amd64", 1, lab::images::Flavour::Oci).push(&lab, "app", Some("v1"));
    let mut t = Transcript::new("broken-config");
    t.call(lab.host(), "REGISTRY");
    std::fs::write(t.user.path("docker/config.json"), "{broken").unwrap();
    t.run("pull REGISTRY/app:v1");
    t.about("It is not overwritten.");
    t.run_reading("login -u user --password-stdin REGISTRY", "secret\n");
    assert_eq!(std::fs::read_to_string(t.user.path("docker/config.json")).unwrap(), "{broken");
    std::fs::write(t.user.path("docker/config.json"), r#"{"credsStore":"nowhere"}"#).unwrap();
    t.about("A helper that is missing is said so.");
    lab.set_auth(Auth::basic("user", "secret"));
    t.run("pull REGISTRY/app:v1");
    t.finish();
}
