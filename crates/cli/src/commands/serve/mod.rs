//! `polyarch serve`.

mod access;
mod certificate;
mod options;
mod reload;
mod systemd;

use std::fmt::Display;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use content::ContentStore;
use registry::{Server, ServerError};
use settings::serve::{Origin, ServeSettings, ServeSettingsRead};
use tokio::sync::{mpsc, oneshot};

use crate::args::Serve;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};
use crate::signals::{Signals, end_process};
use reload::{Hangups, Source, Told};
use systemd::Systemd;

/// Serves until a signal comes, then lets requests that are under way end. A second signal ends it at once.
pub(crate) fn run(arguments: &Serve, context: &mut Context) -> Outcome {
    let directory = std::env::current_dir().map_err(|error| failed("find the working directory", &error))?;
    let read = ServeSettings::read(&arguments.flags, context.environment(), &directory)?;
    let ServeSettingsRead { settings, file, warnings } = read;
    for warning in &warnings {
        context.output.warning(warning);
    }
    if arguments.print_config {
        context.output.raw(settings.toml(file.as_deref())?.as_bytes());
        return Ok(());
    }
    context.log_for_server();
    // Before there are other threads: it changes the environment of the process.
    let socket = systemd::socket(context.environment())?;
    allow_files();
    let runtime = Context::server_runtime()?;
    let (flags, environment) = (arguments.flags.clone(), context.environment().clone());
    let source = Source { flags, environment, directory, now: settings.clone() };
    runtime.block_on(serve(&settings, source, socket, context))
}

async fn serve(
    settings: &ServeSettings,
    source: Source,
    socket: Option<TcpListener>,
    context: &mut Context,
) -> Outcome {
    let systemd = Systemd::of(context.environment());
    // Before anybody can know that it listens: who stops it then must find it ready for that.
    let mut signals = Signals::new().map_err(|error| failed("wait for signals", &error))?;
    let hangups = Hangups::new().map_err(|error| failed("wait for signals", &error))?;
    let (options, mut notes, mut reloads) = options::make(settings, context.environment())?;
    reloads.settings = Some(source);
    let content = open(&settings.data).await?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    if socket.is_some() && settings.listen.origin != Origin::Default {
        notes.push(format!("`{}` is not listened on: systemd handed on a socket", settings.listen.0));
    }
    let server = match socket {
        Some(socket) => Server::from_listener(socket, options, content)?,
        None => Server::bind(settings.listen.0.as_str(), options, content).await?,
    };
    if settings.htpasswd.is_some() && scheme == "http" && !server.local_addr().ip().is_loopback() {
        notes.push("passwords come as they are: name a certificate, or put a proxy before it that ends TLS".to_owned());
    }
    let address = format!("{scheme}://{}", server.local_addr());
    context.output.note(format_args!("listening on {address}"));
    systemd.tell(&format!("READY=1\nSTATUS=listening on {address}"));
    for note in &notes {
        context.output.note(format_args!("note: {note}"));
    }

    let (told, mut messages) = mpsc::unbounded_channel();
    let watching = tokio::spawn(reload::watch(reloads, hangups, systemd.clone(), told));
    let mut alive = systemd.watchdog();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server.serve(async {
        // One that is dropped means the same.
        let _ = stopped.await;
    });
    tokio::pin!(serving);
    let mut stop = Some(stop);
    loop {
        tokio::select! {
            () = &mut serving => break,
            _ = signals.next(), if stop.is_some() => {
                watching.abort();
                stop = None;
                systemd.tell("STOPPING=1\nSTATUS=waiting for requests to end");
                tokio::spawn(end_process());
            }
            () = alive.next() => systemd.tell("WATCHDOG=1"),
            Some(message) = messages.recv() => match message {
                Told::Note(text) => context.output.note(format_args!("note: {text}")),
                Told::Warning(text) => context.output.warning(text),
            },
        }
    }
    Ok(())
}

/// Takes all the open files that this process may have: a connection is one, and so is each blob that is read, and shells
/// begin with 1024.
#[cfg(unix)]
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where that is not allowed, what there is must do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(not(unix))]
fn allow_files() {}

async fn open(data: &Path) -> Outcome<ContentStore> {
    ContentStore::open(data, content::Options::default())
        .await
        .map_err(|error| failed(format_args!("open the data directory `{}`", data.display()), &error))
}

fn failed(doing: impl Display, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::chain(Exit::Failure, error).context(format_args!("failed to {doing}"))
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let failure = Self::new(Exit::Failure, error.to_string());
        match error {
            ServerError::NotLoopback { .. } => {
                failure.hint("name who may with `--htpasswd`, or say `--allow-anonymous` if that is meant".to_owned())
            }
            ServerError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => {
                failure.hint("name another port with `--listen`; port 0 takes a free one".to_owned())
            }
            _ => failure,
        }
    }
}
