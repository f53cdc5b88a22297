//! What every command is handed: settings, output, and what is opened only when it is needed.

use std::future::Future;
use std::sync::Arc;

use lists::Drafts;
use registry_client::{ClientOptions, RegistryClient};
use settings::{CredentialStore, EnvVar, Environment, PathFlags, Paths};
use store::Stores;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::args::Global;
use crate::exit::Exit;
use crate::output::{Failure, Outcome, Output};
use crate::program::Program;
use crate::signals::{self, Signal};

/// One run of the program.
pub(crate) struct Context {
    program: Program,
    environment: Environment,
    global: Global,
    /// Where results and messages go.
    pub(crate) output: Output,
    running: Option<Running>,
    paths: Option<Paths>,
    credentials: Option<Arc<CredentialStore>>,
    told_of_proxies: bool,
}

/// The runtime, and who listens for Ctrl-C on it as long as it is there.
struct Running {
    runtime: Runtime,
    signal: watch::Receiver<Option<Signal>>,
}

impl Context {
    /// Opens nothing yet.
    pub(crate) fn new(program: Program, environment: Environment, global: Global, output: Output) -> Self {
        Self {
            program,
            environment,
            global,
            output,
            running: None,
            paths: None,
            credentials: None,
            told_of_proxies: false,
        }
    }

    /// How the program was started.
    pub(crate) fn program(&self) -> Program {
        self.program
    }

    /// The environment of the process.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What `-D` and `POLYARCH_LOG` ask for.
    pub(crate) fn log_filter(&self) -> Option<String> {
        match (self.environment.get(EnvVar::PolyarchLog), self.global.debug) {
            (Some(filter), _) => Some(filter.to_owned()),
            (None, true) => Some("info,polyarch=debug".to_owned()),
            (None, false) => None,
        }
    }

    /// Lets warnings of what runs inside through, where nothing else was asked for.
    pub(crate) fn log_for_server(&mut self) {
        if self.log_filter().is_none() {
            crate::start::log("warn", &mut self.output);
        }
    }

    /// The directories of this user.
    pub(crate) fn paths(&mut self) -> Outcome<&Paths> {
        if self.paths.is_none() {
            let flags = PathFlags { docker_config: self.global.config.clone(), data: self.global.data.clone() };
            let paths = Paths::new(&self.environment, &flags)?;
            self.paths = Some(paths);
        }
        self.paths.as_ref().ok_or_else(|| Failure::new(Exit::Failure, "no directories"))
    }

    /// The logins of this user. What is wrong with their files is told at once, as docker does.
    pub(crate) fn credentials(&mut self) -> Outcome<Arc<CredentialStore>> {
        if let Some(credentials) = &self.credentials {
            return Ok(Arc::clone(credentials));
        }
        let directory = self.paths()?.docker_config_dir.clone();
        let credentials = Arc::new(CredentialStore::new(&self.environment, directory));
        self.credentials = Some(Arc::clone(&credentials));
        self.tell_warnings();
        Ok(credentials)
    }

    /// A client of registries. Nothing is opened before its first request.
    pub(crate) fn client(&mut self, insecure: bool) -> Outcome<RegistryClient> {
        let cache_dir = self.paths()?.cache_dir.clone();
        let options = ClientOptions { insecure, cache_dir, ..ClientOptions::new(&self.environment) };
        if !std::mem::replace(&mut self.told_of_proxies, true) {
            options.proxies.warnings().iter().for_each(|warning| self.output.note(warning));
        }
        Ok(RegistryClient::new(options, self.credentials()?))
    }

    /// The drafts of `manifest`.
    pub(crate) fn drafts(&mut self) -> Outcome<Drafts> {
        Ok(Drafts::new(&self.paths()?.docker_config_dir))
    }

    /// Registries, the local store and layouts. Nothing is opened before it is asked for.
    pub(crate) fn stores(&mut self, insecure: bool) -> Outcome<Stores> {
        let client = self.client(insecure)?;
        Ok(Stores::new(client, self.paths()?.data_dir.clone()))
    }

    /// Says what was found broken since the last time and did not stop the work.
    pub(crate) fn tell_warnings(&mut self) {
        let Some(credentials) = &self.credentials else { return };
        // They are whole lines, docker's own among them.
        credentials.warnings().iter().for_each(|warning| self.output.note(warning));
    }

    /// Runs what waits for I/O. Ctrl-C drops it, and what it has staged with it; whoever began it is told so by a failure
    /// of which nothing is said.
    pub(crate) fn block_on<T>(&mut self, work: impl Future<Output = T>) -> Outcome<T> {
        let running = match self.running.take() {
            Some(running) => running,
            None => Running::start()?,
        };
        let mut signal = running.signal.clone();
        let result = running.runtime.block_on(async {
            tokio::select! {
                biased;
                signal = interrupted(&mut signal) => Err(Failure::new(signal.exit(), "interrupted")),
                result = work => Ok(result),
            }
        });
        self.running = Some(running);
        result
    }

    /// A runtime for a server, which does not end when a signal comes but decides that itself.
    pub(crate) fn server_runtime() -> Outcome<Runtime> {
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        runtime(workers)
    }
}

impl Running {
    fn start() -> Outcome<Self> {
        // One connection's TLS must not wait for another's, and more threads would cost start-up for nothing.
        let runtime = runtime(2)?;
        let (told, signal) = watch::channel(None);
        runtime.spawn(signals::end_command(told));
        Ok(Self { runtime, signal })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // A helper that hangs, or whoever else blocks a thread, is not waited for.
            running.runtime.shutdown_timeout(signals::GRACE);
        }
    }
}

/// Waits for Ctrl-C.
async fn interrupted(signal: &mut watch::Receiver<Option<Signal>>) -> Signal {
    let came = signal.wait_for(Option::is_some).await.ok().and_then(|signal| *signal);
    match came {
        Some(signal) => signal,
        // There are no handlers: the system's default ends the process.
        None => std::future::pending().await,
    }
}

fn runtime(workers: usize) -> Outcome<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("polyarch")
        .enable_all()
        .build()
        .map_err(|error| Failure::chain(Exit::Failure, &error).context("failed to start the runtime"))
}
