//! The settings of `polyarch serve`: where they come from, and what they come to.

#[cfg(unix)]
use std::io::{Read as _, Write as _};

use crate::sandbox::Sandbox;
#[cfg(unix)]
use crate::support::{AMD64, Running, eventually, program};

fn printed(user: &Sandbox, line: &str) -> String {
    user.words(&format!("serve --print-config {line}")).success()
}

/// The line of a key.
fn line<'a>(text: &'a str, key: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(&format!("{key} = ")));
    found.unwrap_or_else(|| panic!("no `{key}` in\n{text}"))
}

/// Settings without the comments that say where they come from.
fn values(text: &str) -> String {
    let value = |line: &str| line.split(" # ").next().unwrap_or_default().trim_end().to_owned() + "\n";
    text.lines().filter(|line| !line.starts_with('#')).map(value).collect()
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let mut user = Sandbox::new();
    std::fs::write(
        user.path("here/p.toml"),
        "manifest-limit = \"1MiB\"\n[limits]\nconnections = 1\nheader-timeout = \"1s\"\nbody-timeout = \"1s\"\n",
    )
    .unwrap();
    user.set("POLYARCH_CONFIG", "p.toml");
    user.set("POLYARCH_SERVE_HEADER_TIMEOUT", "2s");
    user.set("POLYARCH_SERVE_BODY_TIMEOUT", "2s");
    let text = printed(&user, "--body-timeout 3s");
    let squeezed = |key| line(&text, key).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed("listen"), "listen = \"127.0.0.1:5000\" # default");
    assert_eq!(squeezed("data"), "data = \"[ROOT]/data\" # `POLYARCH_DATA`");
    assert_eq!(squeezed("manifest-limit"), "manifest-limit = \"1MiB\" # `p.toml`, line 1");
    assert_eq!(squeezed("connections"), "connections = 1 # `p.toml`, line 3");
    assert_eq!(squeezed("header-timeout"), "header-timeout = \"2s\" # `POLYARCH_SERVE_HEADER_TIMEOUT`");
    assert_eq!(squeezed("body-timeout"), "body-timeout = \"3s\" # `--body-timeout`");
    // A flag wins over the variable that names the file, too.
    std::fs::write(user.path("here/other.toml"), "manifest-limit = \"2MiB\"").unwrap();
    assert!(line(&printed(&user, "--config other.toml"), "manifest-limit").contains("`other.toml`"));
}

#[test]
fn what_is_printed_says_the_same_when_it_is_read() {
    let user = Sandbox::new();
    let first = printed(
        &user,
        "--listen [::1]:0 --allow-anonymous --tls-name a.lan --tls-name b.lan --htpasswd users --token-server=false \
         --drain-timeout 90s --data elsewhere --references sparse",
    );
    std::fs::write(user.path("here/again.toml"), first.replace("[ROOT]", &user.path("").display().to_string()))
        .unwrap();
    let mut other = user;
    // What the file says must not be needed from elsewhere.
    other.set("POLYARCH_DATA", "");
    let second = printed(&other, "--config again.toml");
    assert_eq!(values(&first).replace("//", "/"), values(&second).replace("//", "/"));
    assert!(values(&first).contains("names = [\"a.lan\", \"b.lan\"]\n"), "{first}");
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_what_was_meant() {
    let user = Sandbox::new();
    std::fs::write(user.path("here/p.toml"), "# mine\n\n[tls]\n  sert = \"x\"\n").unwrap();
    user.words("serve --config p.toml").fails_with(
        2,
        "error: failed to read the settings file `p.toml`: line 4, column 3: unknown key `sert` in `[tls]`; did you mean \
         `cert`?\n",
    );
    std::fs::write(user.path("here/p.toml"), "[limits]\nbody-timeout = 60\n").unwrap();
    user.words("serve --config p.toml --print-config").fails_with(
        2,
        "error: failed to read the settings file `p.toml`: line 2, column 1: expected a duration such as `90s`, `1h30m` or \
         `7d`\n",
    );
    let missing = user.words("serve --config nothing.toml");
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.stderr.starts_with("error: failed to read the settings file `nothing.toml`: "),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_variable_or_flag_with_a_wrong_value_is_named() {
    let mut user = Sandbox::new();
    let flag = user.words("serve --manifest-limit much");
    assert_eq!(flag.code, Some(2));
    assert!(
        flag.stderr.starts_with(
            "error: invalid value 'much' for '--manifest-limit <SIZE>': expected a size such as `4MiB` or `10GB`"
        ),
        "{}",
        flag.stderr
    );
    user.set("POLYARCH_SERVE_LISTN", "x");
    let run = user.words("serve --print-config");
    assert!(
        run.stderr.starts_with(
            "warning: the variable `POLYARCH_SERVE_LISTN` sets nothing; did you mean `POLYARCH_SERVE_LISTEN`?\n"
        ),
        "{}",
        run.stderr
    );
    user.set("POLYARCH_SERVE_REFERENCES", "lax");
    user.words("serve --print-config").fails_with(
        2,
        "error: failed to read the variable `POLYARCH_SERVE_REFERENCES`: expected `strict`, `platforms` or `sparse`, found `lax`\n",
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let user = Sandbox::new();
    user.words("serve --tls-cert c.pem")
        .fails_with(2, "error: a certificate without its key\nhint: name the key with `--tls-key`\n");
    let refused = user.words("serve --allow-anonymous --policy p.toml");
    assert_eq!(refused.code, Some(2));
}

#[test]
fn dockers_directory_before_serve_is_no_settings_file() {
    let user = Sandbox::new();
    let run = user.words("--config /nowhere serve --print-config");
    assert!(!run.success().contains("/nowhere"));
}

#[cfg(unix)]
#[test]
fn read_only_is_switched_while_it_runs_and_what_needs_a_restart_is_said() {
    let user = Sandbox::new();
    std::fs::write(user.path("here/amd64"), program(AMD64, 1)).unwrap();
    let settings = user.path("here/p.toml");
    std::fs::write(&settings, "read-only = true").unwrap();
    let mut server = Running::start(&user, "serve --listen 127.0.0.1:0 --data registry --config p.toml");
    let host = server.line().strip_prefix("listening on http://").unwrap().to_owned();
    let image = format!("{host}/app:v1");
    let push = || user.polyarch(&["pack", "--push", "-t", &image, "linux/amd64=amd64"]);
    let refused = push();
    assert!(refused.code != Some(0) && refused.stderr.contains("read-only"), "{}", refused.shown());

    std::fs::write(&settings, "[limits]\nconnections = 7").unwrap();
    server.signal("HUP");
    assert_eq!(server.line(), "note: it can be written to again");
    assert_eq!(
        server.line(),
        "warning: the settings have other values for `limits.connections`: that counts after a restart"
    );
    push().success();
    std::fs::write(&settings, "[limit]").unwrap();
    server.signal("HUP");
    assert_eq!(
        server.line(),
        "warning: failed to read the settings file `p.toml`: line 1, column 2: unknown key `limit`; did you mean `limits`?; \
         the settings stay as they were"
    );
    push().success();
}

#[test]
fn repositories_have_rules_of_their_own() {
    let user = Sandbox::new();
    std::fs::write(user.path("here/p.toml"), "[[repositories]]\nname = \"Mirror/**\"\nreferences = \"sparse\"\n")
        .unwrap();
    let refused = user.words("serve --listen 127.0.0.1:0 --config p.toml");
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.starts_with("error: `Mirror/**` is no pattern of repository names; "), "{}", refused.stderr);
}

#[cfg(unix)]
#[test]
fn requests_and_writes_are_written_down_and_counted() {
    let user = Sandbox::new();
    std::fs::write(user.path("here/amd64"), program(AMD64, 1)).unwrap();
    let line = "serve --listen 127.0.0.1:0 --data registry --access-log access.log --access-log-format json \
                --audit-log audit.log --metrics --token-algorithm EdDSA";
    let mut server = Running::start(&user, line);
    let host = server.line().strip_prefix("listening on http://").unwrap().to_owned();
    let push = |tag: &str| {
        let image = format!("{host}/app:{tag}");
        user.polyarch(&["pack", "--push", "-t", &image, "linux/amd64=amd64"]).success();
    };
    let read = |name: &str| std::fs::read_to_string(user.path("here").join(name)).unwrap_or_default();
    push("v1");
    assert!(read("audit.log").contains("\"v1\""), "{}", read("audit.log"));
    eventually("the access log", || read("access.log").contains("\"PUT\""));
    assert!(read("access.log").lines().all(|line| line.starts_with('{')), "{}", read("access.log"));

    // What turns logs over gives them another name, and says so.
    for name in ["access.log", "audit.log"] {
        std::fs::rename(user.path("here").join(name), user.path("here").join(format!("{name}.1"))).unwrap();
    }
    server.signal("HUP");
    eventually("new logs", || user.path("here/access.log").exists() && user.path("here/audit.log").exists());
    push("v2");
    assert!(read("audit.log").contains("\"v2\"") && !read("audit.log.1").contains("\"v2\""));

    let mut stream = std::net::TcpStream::connect(&host).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\npolyarch_"), "{answer}");
}

#[test]
fn who_is_vouched_for_by_others_needs_rules() {
    let user = Sandbox::new();
    let issuer = "[[issuers]]\nissuer = \"https://issuer.example\"\njwks = \"keys.json\"\naudience = [\"registry\"]\n";
    std::fs::write(user.path("here/p.toml"), issuer).unwrap();
    let refused = user.words("serve --listen 127.0.0.1:0 --config p.toml");
    assert!(refused.code == Some(2) && refused.stderr.contains("no policy"), "{}", refused.shown());
    std::fs::write(user.path("here/policy.toml"), "").unwrap();
    let refused = user.words("serve --listen 127.0.0.1:0 --config p.toml --policy policy.toml");
    assert_eq!(refused.code, Some(2), "{}", refused.shown());
    let want = "error: issuer `https://issuer.example`: failed to read its keys from `[ROOT]/here/keys.json`: ";
    assert!(refused.stderr.starts_with(want), "{}", refused.stderr);
    std::fs::write(user.path("here/keys.json"), "{\"keys\":[]}").unwrap();
    user.words("serve --client-ca ca.pem --policy policy.toml").fails_with(
        2,
        "error: certificates of clients without TLS\nhint: give the server one with `--tls-cert` and `--tls-key`\n",
    );
}

#[cfg(unix)]
#[test]
fn what_one_client_may_take_is_limited() {
    let user = Sandbox::new();
    std::fs::write(user.path("here/amd64"), program(AMD64, 1)).unwrap();
    let line = "serve --listen 127.0.0.1:0 --data registry --blob-size 10B --url-length 1KiB --header-bytes 4KiB";
    let mut server = Running::start(&user, line);
    let host = server.line().strip_prefix("listening on http://").unwrap().to_owned();
    let refused = user.polyarch(&["pack", "--push", "-t", &format!("{host}/app:v1"), "linux/amd64=amd64"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("413; SIZE_INVALID"), "{}", refused.shown());
    for (url, header, status) in [(1000, 4000, "200"), (1100, 0, "414"), (0, 4200, "431")] {
        let (query, value) = ("x".repeat(url), "y".repeat(header));
        let request = format!("GET /v2/?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {value}\r\n\r\n");
        let mut stream = std::net::TcpStream::connect(&host).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
    let refused = user.words("serve --listen 127.0.0.1:0 --trusted-proxy nearby");
    assert_eq!(refused.code, Some(2), "{}", refused.shown());
    assert!(refused.stderr.starts_with("error: failed to trust a proxy: `nearby` is no address"), "{}", refused.stderr);
}

#[cfg(unix)]
#[test]
fn others_are_told_what_was_written() {
    let user = Sandbox::new();
    std::fs::write(user.path("here/amd64"), program(AMD64, 1)).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    std::fs::write(user.path("here/url"), format!("{url}\n")).unwrap();
    std::fs::write(user.path("here/secret"), "sixteen bytes or more\n").unwrap();
    std::fs::write(
        user.path("here/p.toml"),
        "[[webhooks]]\nurl-file = \"url\"\nsecret-file = \"secret\"\nevents = [\"manifest-pushed\"]\n",
    )
    .unwrap();
    let line = "serve --listen 127.0.0.1:0 --data registry --config p.toml";
    let refused = user.words(line);
    assert_eq!(refused.code, Some(2), "{}", refused.shown());
    assert!(refused.stderr.contains("`webhook-allow` can list it"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("/hook"), "{}", refused.stderr);

    // What cannot be read or written is no mistake of the command line.
    let allowed = format!("{line} --webhook-allow 127.0.0.0/8");
    std::fs::rename(user.path("here/secret"), user.path("here/other")).unwrap();
    let refused = user.words(&allowed);
    assert_eq!(refused.code, Some(1), "{}", refused.shown());
    assert!(refused.stderr.starts_with("error: failed to read the secret of a webhook `"), "{}", refused.stderr);
    std::fs::rename(user.path("here/other"), user.path("here/secret")).unwrap();
    std::fs::write(user.path("here/registry/webhooks"), "").unwrap();
    let refused = user.words(&allowed);
    assert_eq!(refused.code, Some(1), "{}", refused.shown());
    assert!(refused.stderr.starts_with("error: failed to open the journal of webhooks `"), "{}", refused.stderr);
    std::fs::remove_file(user.path("here/registry/webhooks")).unwrap();

    let mut server = Running::start(&user, &allowed);
    let host = server.line().strip_prefix("listening on http://").unwrap().to_owned();
    user.polyarch(&["pack", "--push", "-t", &format!("{host}/app:v1"), "linux/amd64=amd64"]).success();
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&request).contains("manifest-pushed") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&buffer[..length]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n") && request.contains("polyarch-signature: t="), "{request}");
}
