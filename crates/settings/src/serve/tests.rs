use std::time::Duration;

use super::*;

fn read(file: &str, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<ServeSettings, String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("etc")).unwrap();
    std::fs::write(directory.path().join("etc/p.toml"), file).unwrap();
    let mut all = vec![("HOME", "/h")];
    all.extend(variables);
    let environment: Environment = all.into_iter().collect();
    let flags = ServeFlags {
        config: Some("etc/p.toml".into()),
        data: None,
        values: flags.iter().map(|(flag, value)| (*flag, vec![(*value).to_owned()])).collect(),
    };
    let config = directory.path().join("etc/p.toml");
    let flags = ServeFlags { config: Some(config), ..flags };
    match ServeSettings::read(&flags, &environment, Path::new("/cwd")) {
        Ok(read) => Ok(read.settings),
        Err(error) => Err(error.to_string().replace(&directory.path().display().to_string(), "")),
    }
}

#[test]
fn a_flag_wins_over_a_variable_wins_over_the_file_wins_over_the_default() {
    let file =
        "listen = \"file:1\"\n[limits]\nheader-timeout = \"1m\"\nbody-timeout = \"2m\"\ndrain-timeout = \"3m\"\n";
    let variables = [("POLYARCH_SERVE_BODY_TIMEOUT", "4m"), ("POLYARCH_SERVE_DRAIN_TIMEOUT", "5m")];
    let settings = read(file, &variables, &[("drain-timeout", "6m")]).unwrap();
    assert_eq!((settings.listen.0.as_str(), &settings.listen.origin), ("file:1", &Origin::File { line: 1 }));
    assert_eq!(*settings.header_timeout, Duration::from_secs(60));
    assert_eq!(settings.header_timeout.origin, Origin::File { line: 3 });
    assert_eq!(*settings.body_timeout, Duration::from_secs(240));
    assert_eq!(settings.body_timeout.origin, Origin::Variable("POLYARCH_SERVE_BODY_TIMEOUT".to_owned()));
    assert_eq!(*settings.drain_timeout, Duration::from_secs(360));
    assert_eq!(settings.drain_timeout.origin, Origin::Flag("drain-timeout"));
    assert_eq!(settings.connections.value.0.get(), 8192);
    assert_eq!(settings.connections.origin, Origin::Default);
    assert_eq!(*settings.data, PathBuf::from("/h/.local/share/polyarch"));
}

#[test]
fn a_variable_that_is_empty_sets_nothing() {
    let settings = read("references = \"sparse\"", &[("POLYARCH_SERVE_REFERENCES", "")], &[]).unwrap();
    assert_eq!(*settings.references, References::Sparse);
}

#[test]
fn paths_in_the_file_are_beside_it_and_others_are_not() {
    let settings =
        read("[access]\nhtpasswd = \"users\"\ntokens = \"/t\"", &[("POLYARCH_SERVE_POLICY", "rules")], &[]).unwrap();
    assert!(settings.htpasswd.as_ref().unwrap().ends_with("etc/users"));
    assert_eq!(settings.tokens.value, Some(PathBuf::from("/t")));
    assert_eq!(settings.policy.value, Some(PathBuf::from("/cwd/rules")));
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    for (file, want) in [
        ("listn = 1", "line 1, column 1: unknown key `listn`; did you mean `listen`?"),
        ("\n[tls]\n  cret = 1", "line 3, column 3: unknown key `cret` in `[tls]`; did you mean `cert`?"),
        ("htpasswd = \"x\"", "line 1, column 1: unknown key `htpasswd`; there is `htpasswd` in `[access]`"),
        ("tls-cert = \"x\"", "line 1, column 1: unknown key `tls-cert`; there is `cert` in `[tls]`"),
        (
            "[limits]\nlisten = \"x\"",
            "line 2, column 1: unknown key `listen` in `[limits]`; there is `listen` at the top of the file",
        ),
        ("[acces]\n", "line 1, column 2: unknown key `acces`; did you mean `access`?"),
        ("zzz = 1", "line 1, column 1: unknown key `zzz`"),
        ("\"a\\u001b[2J\" = 1", "line 1, column 1: unknown key `a\\u{1b}[2J`"),
        ("tls = 1", "line 1, column 1: expected the table `[tls]`"),
        ("listen = \"x\"", "line 1, column 1: expected an address and a port, such as `127.0.0.1:5000`"),
        ("listen = 3", "line 1, column 1: expected an address and a port, such as `127.0.0.1:5000`"),
        ("manifest-limit = \"4MB/s\"", "line 1, column 1: expected a size such as `4MiB` or `10GB`"),
        ("allow-anonymous = 1", "line 1, column 1: expected `true` or `false`, not a number"),
        ("[access]\npolicy = []", "line 2, column 1: expected a path, not a list"),
        ("[tls]\nnames = \"a\"", "line 2, column 1: expected a list of texts, not a text"),
        ("[repositories]\n", "line 1, column 2: expected tables that begin with `[[repositories]]`"),
        (
            "[[repositories]]\nnam = \"a\"",
            "line 2, column 1: unknown key `nam` in `[[repositories]]`; did you mean `name`?",
        ),
        ("\n[[repositories]]\nname = \"a\"", "line 2, column 1: `[[repositories]]` needs `references`"),
        ("[[repositories]]\nreferences = 1", "line 2, column 1: expected `strict`, `platforms` or `sparse`"),
        ("[[repositorys]]\n", "line 1, column 3: unknown key `repositorys`; did you mean `repositories`?"),
        ("[tls]\nnames = [1]", "line 2, column 1: expected a list of texts, not a list of something else"),
    ] {
        assert_eq!(
            read(file, &[], &[]).unwrap_err(),
            format!("read the settings file `/etc/p.toml`: {want}"),
            "{file}"
        );
    }
    let broken = read("listen = ", &[], &[]).unwrap_err();
    assert!(broken.starts_with("read the settings file `/etc/p.toml`: line 1, column "), "{broken}");
    assert_eq!(
        read("", &[("POLYARCH_SERVE_REFERENCES", "lax")], &[]).unwrap_err(),
        "read the variable `POLYARCH_SERVE_REFERENCES`: expected `strict`, `platforms` or `sparse`, found `lax`"
    );
    assert_eq!(
        read("", &[], &[("connections", "many")]).unwrap_err(),
        "read the flag `--connections`: expected a number from 1 on, found `many`"
    );
}

#[test]
fn a_variable_that_is_nearly_ours_is_told() {
    let environment: Environment =
        [("HOME", "/h"), ("POLYARCH_SERVE_LISTN", "x"), ("POLYARCH_SERVE_PORT_5000_TCP", "y")].into_iter().collect();
    let read = ServeSettings::read(&ServeFlags::default(), &environment, Path::new("/")).unwrap();
    assert_eq!(
        read.warnings[0],
        "the variable `POLYARCH_SERVE_LISTN` sets nothing; did you mean `POLYARCH_SERVE_LISTEN`?"
    );
    assert!(read.warnings[1].starts_with("the variable `POLYARCH_SERVE_PORT_5000_TCP` sets nothing"));
}

#[test]
fn what_is_written_says_the_same_when_it_is_read() {
    let variables = [("POLYARCH_SERVE_TLS_NAME", "a.lan, b.lan"), ("POLYARCH_DATA", "/srv/\"odd\"")];
    let first =
        read("manifest-limit = \"8MiB\"\n[token-server]\nenabled = false\n[[repositories]]\nname = \"a/**\"\nreferences = \"sparse\"", &variables, &[("htpasswd", "us\ters")])
            .unwrap();
    let text = first.toml(Some(Path::new("/etc/p.toml"))).unwrap();
    assert!(text.contains("# `/etc/p.toml`, line 1\n"), "{text}");
    assert!(text.contains("# `--htpasswd`\n") && text.contains("# `POLYARCH_SERVE_TLS_NAME`\n"), "{text}");
    assert!(text.contains("\n# cert is not set\n"), "{text}");
    let second = read(&text, &[], &[]).unwrap();
    let values = |settings: &ServeSettings| -> Vec<Option<String>> {
        settings.written().into_iter().map(|(_, value, _)| value).collect()
    };
    assert_eq!(values(&first), values(&second));
    assert_eq!((first.repositories.len(), &first.repositories), (1, &second.repositories));
    assert_eq!(first.differences(&second), Vec::<String>::new());
    let third = read(&text, &[], &[("gc-interval", "off")]).unwrap();
    assert_eq!(third.differences(&second), ["garbage.interval"]);
}
