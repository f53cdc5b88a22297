//! Arguments of the commands that make users and tokens of `serve`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `htpasswd`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyarch htpasswd bob --add-to users
  polyarch htpasswd bob --password-stdin < password >> users")]
pub(crate) struct Htpasswd {
    /// User name
    #[arg(value_name = "USER")]
    pub(crate) user: String,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Put the line into a file, in place of the user's if they have one, and print nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) add_to: Option<PathBuf>,
    /// Say what would be written, and write nothing
    #[arg(long, requires = "add_to")]
    pub(crate) dry_run: bool,
}

/// Arguments of `token`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polyarch token ci
  polyarch token ci --add-to tokens > ci-token")]
pub(crate) struct Token {
    /// Whose it is
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Put the line into a file, and print the token alone
    #[arg(long, value_name = "FILE")]
    pub(crate) add_to: Option<PathBuf>,
    /// Say what would be written, and write nothing
    #[arg(long, requires = "add_to")]
    pub(crate) dry_run: bool,
}
