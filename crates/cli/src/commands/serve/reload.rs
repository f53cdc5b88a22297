//! What may change while the server runs: files, looked at every other second, and when SIGHUP comes the settings too.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use registry::{Access, AccessLog, Audit, ReadOnly, Tls};
use settings::Environment;
use settings::serve::{ServeFlags, ServeSettings};
use tokio::sync::mpsc::UnboundedSender;

use super::access::AccessFiles;
use super::options;
use super::systemd::Systemd;
use crate::output::chain;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    pub(super) access: Option<(Access, AccessFiles)>,
    pub(super) tls: Option<Tls>,
    pub(super) read_only: ReadOnly,
    pub(super) access_log: Option<AccessLog>,
    pub(super) audit: Option<Audit>,
    pub(super) settings: Option<Source>,
}

/// Where the settings came from, and what they came to.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) flags: ServeFlags,
    pub(super) environment: Environment,
    pub(super) directory: PathBuf,
    pub(super) now: ServeSettings,
}

impl Source {
    /// Reads them again. What can change does; what cannot is said.
    fn reload(&mut self, read_only: &ReadOnly, access: Option<&Access>) -> Vec<Result<String, String>> {
        let read = match ServeSettings::read(&self.flags, &self.environment, &self.directory) {
            Ok(read) => read.settings,
            Err(error) => return vec![Err(format!("failed to {}; the settings stay as they were", chain(&error)))],
        };
        let mut results = Vec::new();
        if *read.read_only != *self.now.read_only {
            read_only.set(*read.read_only);
            let what =
                if *read.read_only { "nothing can be written from now on" } else { "it can be written to again" };
            results.push(Ok(what.to_owned()));
        }
        let mut later = read.differences(&self.now);
        later.retain(|name| name != "read-only");
        if let Some(access) = access.filter(|_| read.issuers != self.now.issuers) {
            later.retain(|name| name != "issuers");
            match options::issuers(&read, &self.environment) {
                Ok(issuers) => {
                    access.replace_issuers(issuers);
                    self.now.issuers.clone_from(&read.issuers);
                    results.push(Ok("took the issuers as they are now".to_owned()));
                }
                Err(why) => results.push(Err(format!("{why}; the issuers stay as they were"))),
            }
        }
        if let Some(tokens) = access.and_then(Access::tokens) {
            // The same key again is no change; those that it follows are still good for what they signed.
            let replaced = options::signing_key(&self.now).map_err(|error| error.to_string());
            let replaced = replaced.and_then(|key| tokens.replace_key(key).map_err(|error| error.to_string()));
            results.extend(replaced.err().map(|why| Err(format!("{why}; the key of tokens stays as it was"))));
        }
        if !later.is_empty() {
            let names = later.join("`, `");
            results.push(Err(format!("the settings have other values for `{names}`: that counts after a restart")));
        }
        self.now.read_only = read.read_only;
        results
    }
}

/// What people are told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Good to know.
    Note(String),
    /// Something was not taken.
    Warning(String),
}

/// SIGHUP, from when this is made on: it asks to look now.
#[cfg(unix)]
pub(super) struct Hangups(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangups {
    pub(super) fn new() -> io::Result<Self> {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).map(Self)
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// There is none here.
#[cfg(not(unix))]
pub(super) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on Unix")]
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

/// Looks until it is dropped.
pub(super) async fn watch(mut reloads: Reloads, mut hangups: Hangups, systemd: Systemd, told: UnboundedSender<Told>) {
    let mut last = Vec::new();
    loop {
        let asked = tokio::select! {
            () = hangups.next() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        if asked {
            systemd.tell("RELOADING=1");
        }
        let looked = tokio::task::spawn_blocking(move || {
            let results = reloads.look(asked);
            (reloads, results)
        });
        let Ok((again, results)) = looked.await else { return };
        reloads = again;
        let (taken, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        for text in taken.into_iter().flatten() {
            let _ = told.send(Told::Note(text));
        }
        let refused: Vec<String> = refused.into_iter().filter_map(Result::err).collect();
        // What is still wrong is not told again, unless somebody asks.
        for text in refused.iter().filter(|text| asked || !last.contains(*text)) {
            let _ = told.send(Told::Warning(text.clone()));
        }
        last = refused;
        if asked {
            systemd.tell("READY=1");
        }
    }
}

impl Reloads {
    /// Looks at everything once. Blocks.
    fn look(&mut self, asked: bool) -> Vec<Result<String, String>> {
        let mut results = Vec::new();
        if asked && let Some(settings) = &mut self.settings {
            results.extend(settings.reload(&self.read_only, self.access.as_ref().map(|(access, _)| access)));
        }
        if asked {
            // They may have been given other names, by what turns logs over.
            let logs = [self.access_log.as_ref().map(AccessLog::reopen), self.audit.as_ref().map(Audit::reopen)];
            let failed = logs.into_iter().flatten().filter_map(Result::err);
            results.extend(failed.map(|error| Err(format!("{error}; lines go where they went"))));
        }
        if let Some((access, files)) = &mut self.access {
            results.extend(files.reload(access, asked));
        }
        if let Some(tls) = &self.tls {
            match tls.reload() {
                Ok(true) => results.push(Ok("took the certificate as it is now".to_owned())),
                Ok(false) => {}
                Err(error) => results.push(Err(format!("{error}; the certificate stays as it was"))),
            }
        }
        results
    }
}
