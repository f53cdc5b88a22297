//! `polyarch serve`.

use std::io::ErrorKind;

use registry::{Server, ServerError};

use crate::args::Serve;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};
use crate::signals::{Signals, end_process};

/// Serves until a signal comes, then lets requests that are under way end. A second signal ends it at once.
pub(crate) fn run(arguments: &Serve, context: &mut Context) -> Outcome {
    let stores = context.stores(false)?;
    let runtime = Context::server_runtime()?;
    runtime.block_on(async {
        // Before anybody can know that it listens: who stops it then must find it ready for that.
        let mut signals = Signals::new()
            .map_err(|error| Failure::chain(Exit::Failure, &error).context("failed to wait for signals"))?;
        let content = stores.content().await?.clone();
        let mut options = registry::Options::default();
        options.allow_anonymous = arguments.allow_anonymous;
        let server = Server::bind(arguments.listen.as_str(), options, content).await?;
        context.output.note(format_args!("listening on http://{}", server.local_addr()));
        let stop = async {
            signals.next().await;
            tokio::spawn(end_process());
        };
        server.serve(stop).await;
        Ok(())
    })
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let failure = Self::new(Exit::Failure, error.to_string());
        match error {
            ServerError::NotLoopback { .. } => failure.hint("say `--allow-anonymous` if that is meant".to_owned()),
            ServerError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => {
                failure.hint("name another port with `--listen`; port 0 takes a free one".to_owned())
            }
            _ => failure,
        }
    }
}
