//! Flags of `manifest` as docker reads them.
//!
//! Why not clap: scripts see the difference. Docker's parser stops at the first mistake in the order of the command
//! line and only then looks at `--help` and at the number of arguments; a switch may be repeated and take a value
//! (`--amend=false`, `-a=0`, with Go's spellings of booleans); a flag that needs a value takes the next argument
//! whatever it looks like; words for all of this are fixed. clap reports in another order, does not tell which
//! argument a clustered short flag stood in, and cannot take a value on a repeated switch without taking the next
//! argument too. So this is a parser of some hundred lines for one table of flags; every other command uses clap.

use std::collections::BTreeMap;

use super::go;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or `=true`/`=false`.
    Switch,
    /// A text; the last one counts.
    Text(&'static str),
    /// Texts separated by commas, quoted as in CSV; may be repeated.
    Commas(&'static str),
    /// One text each time; may be repeated.
    Each(&'static str),
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Long name, without dashes.
    pub(crate) name: &'static str,
    /// One-letter name.
    pub(crate) short: Option<char>,
    /// What it takes.
    pub(crate) kind: Kind,
    /// One line for `--help`.
    pub(crate) help: &'static str,
}

/// Every command has it.
pub(crate) const HELP: Flag = Flag { name: "help", short: Some('h'), kind: Kind::Switch, help: "Print usage" };

/// A mistake in the flags, in docker's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlagError(pub(crate) String);

/// What the command line said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values {
    switches: BTreeMap<&'static str, bool>,
    texts: BTreeMap<&'static str, Vec<String>>,
    arguments: Vec<String>,
}

impl Values {
    /// Whether a switch is on.
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.switches.get(name).copied().unwrap_or(false)
    }

    /// The value of a [`Kind::Text`]; an empty one counts as not given, as it does for docker.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.list(name).last().map(String::as_str).filter(|text| !text.is_empty())
    }

    /// All values of a [`Kind::Commas`] or [`Kind::Each`].
    pub(crate) fn list(&self, name: &str) -> &[String] {
        self.texts.get(name).map_or(&[], Vec::as_slice)
    }

    /// What is no flag and no flag's value.
    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    fn set(&mut self, flag: &Flag, value: &str) -> Result<(), FlagError> {
        let spelling = || match flag.short {
            // Docker hides the short form of this one.
            Some(short) if flag.name != HELP.name => format!("-{short}, --{}", flag.name),
            _ => format!("--{}", flag.name),
        };
        let refuse = |why: &dyn std::fmt::Display| {
            FlagError(format!("invalid argument {} for \"{}\" flag: {why}", go::quote(value), spelling()))
        };
        match flag.kind {
            Kind::Switch => {
                let on = go::parse_bool(value).map_err(|why| refuse(&why))?;
                self.switches.insert(flag.name, on);
            }
            Kind::Text(_) => {
                self.texts.insert(flag.name, vec![value.to_owned()]);
            }
            Kind::Commas(_) => {
                let values = go::split_commas(value).map_err(|why| refuse(&why))?;
                self.texts.entry(flag.name).or_default().extend(values);
            }
            Kind::Each(_) => self.texts.entry(flag.name).or_default().push(value.to_owned()),
        }
        Ok(())
    }
}

/// Reads a command line against a table of flags. Flags and arguments may alternate; `--` ends the flags.
pub(crate) fn parse(flags: &[Flag], line: &[String]) -> Result<Values, FlagError> {
    let mut values = Values::default();
    let mut rest = line.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            values.arguments.extend(rest.by_ref().cloned());
        } else if let Some(long) = argument.strip_prefix("--") {
            parse_long(flags, long, argument, &mut rest, &mut values)?;
        } else if argument.len() > 1 && argument.starts_with('-') {
            parse_cluster(flags, &argument[1..], &mut rest, &mut values)?;
        } else {
            values.arguments.push(argument.clone());
        }
    }
    Ok(values)
}

fn parse_long<'a>(
    flags: &[Flag],
    long: &str,
    argument: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    values: &mut Values,
) -> Result<(), FlagError> {
    if long.starts_with(['-', '=']) {
        return Err(FlagError(format!("bad flag syntax: {argument}")));
    }
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let flag = find(flags, |flag| flag.name == name).ok_or_else(|| FlagError(format!("unknown flag: --{name}")))?;
    match (value, flag.kind) {
        (Some(value), _) => values.set(flag, value),
        (None, Kind::Switch) => values.set(flag, "true"),
        (None, _) => match rest.next() {
            Some(next) => values.set(flag, next),
            None => Err(FlagError(format!("flag needs an argument: --{name}"))),
        },
    }
}

/// `-av`, `-a=false`, `-tNAME`, `-t NAME`.
fn parse_cluster<'a>(
    flags: &[Flag],
    mut cluster: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    values: &mut Values,
) -> Result<(), FlagError> {
    while let Some(&byte) = cluster.as_bytes().first() {
        let short = char::from(byte);
        let flag = find(flags, |flag| flag.short == Some(short))
            .ok_or_else(|| FlagError(format!("unknown shorthand flag: {} in -{cluster}", go::quote_char(short))))?;
        let after = &cluster[1..];
        if after.len() > 1
            && let Some(value) = after.strip_prefix('=')
        {
            return values.set(flag, value);
        }
        if flag.kind == Kind::Switch {
            values.set(flag, "true")?;
            cluster = after;
            continue;
        }
        if !after.is_empty() {
            return values.set(flag, after);
        }
        return match rest.next() {
            Some(next) => values.set(flag, next),
            None => Err(FlagError(format!("flag needs an argument: {} in -{cluster}", go::quote_char(short)))),
        };
    }
    Ok(())
}

fn find(flags: &[Flag], is_it: impl Fn(&Flag) -> bool) -> Option<&Flag> {
    // Their own table first: a command could have a flag `-h` of its own.
    flags.iter().find(|flag| is_it(flag)).or_else(|| is_it(&HELP).then_some(&HELP))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag { name: "amend", short: Some('a'), kind: Kind::Switch, help: "" },
        Flag { name: "insecure", short: None, kind: Kind::Switch, help: "" },
        Flag { name: "os", short: None, kind: Kind::Text("string"), help: "" },
        Flag { name: "os-features", short: None, kind: Kind::Commas("strings"), help: "" },
        Flag { name: "tag", short: Some('t'), kind: Kind::Each("string"), help: "" },
    ];

    fn read(line: &[&str]) -> Result<Values, String> {
        let line: Vec<String> = line.iter().map(ToString::to_string).collect();
        parse(FLAGS, &line).map_err(|error| error.0)
    }

    #[test]
    fn flags_may_be_interleaved_and_repeated() {
        let values = read(&["L", "--amend", "A", "--amend", "B", "--insecure=F", "-"]).unwrap();
        assert_eq!(values.arguments(), ["L", "A", "B", "-"]);
        assert!(values.switch("amend") && !values.switch("insecure"));
        assert!(!read(&["--amend", "--amend=false"]).unwrap().switch("amend"));
        assert!(read(&["-a=1"]).unwrap().switch("amend"));
    }

    #[test]
    fn values_are_taken_wherever_they_stand() {
        let values = read(&["--os", "-x", "-tone", "-t", "two", "-at=three", "--", "--os"]).unwrap();
        assert_eq!(values.text("os"), Some("-x"));
        assert_eq!(values.list("tag"), ["one", "two", "three"]);
        assert_eq!(values.arguments(), ["--os"]);
        assert_eq!(read(&["--os", "x", "--os="]).unwrap().text("os"), None);
        assert_eq!(read(&["--os-features", "a,b", "--os-features=c"]).unwrap().list("os-features"), ["a", "b", "c"]);
    }

    #[test]
    fn mistakes_have_dockers_words() {
        for (line, want) in [
            (&["--bogus"][..], "unknown flag: --bogus"),
            (&["--bogus=1"], "unknown flag: --bogus"),
            (&["--amen"], "unknown flag: --amen"),
            (&["-x"], "unknown shorthand flag: 'x' in -x"),
            (&["-axa"], "unknown shorthand flag: 'x' in -xa"),
            (&["-a="], "unknown shorthand flag: '=' in -="),
            (&["-a-"], "unknown shorthand flag: '-' in --"),
            (&["-é"], "unknown shorthand flag: 'Ã' in -é"),
            (&["---"], "bad flag syntax: ---"),
            (&["--=x"], "bad flag syntax: --=x"),
            (&["--os"], "flag needs an argument: --os"),
            (&["-t"], "flag needs an argument: 't' in -t"),
            (
                &["--amend=maybe"],
                "invalid argument \"maybe\" for \"-a, --amend\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                &["--insecure="],
                "invalid argument \"\" for \"--insecure\" flag: strconv.ParseBool: parsing \"\": invalid syntax",
            ),
            (
                &["--os-features", "a\"b"],
                "invalid argument \"a\\\"b\" for \"--os-features\" flag: parse error on line 1, column 2: bare \" in non-quoted-field",
            ),
        ] {
            assert_eq!(read(line), Err(want.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn the_first_mistake_is_the_one_told() {
        assert_eq!(read(&["--help", "--bogus", "--amend=x"]), Err("unknown flag: --bogus".to_owned()));
    }
}
