//! The only place that writes to stdout and stderr.
//!
//! Results go to stdout, everything that is said *about* the work goes to stderr. A reader that went away (`| head`) is
//! not an error: the rest is dropped and the exit code stays what the work deserves.

mod count;
mod escape;
mod failure;
mod table;

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};

pub(crate) use count::count;
pub(crate) use escape::{escape, escape_json, escape_line};
pub(crate) use failure::{Failure, Outcome, chain};
pub(crate) use table::table;

use crate::exit::Exit;

/// Writers for results and for messages.
pub(crate) struct Output {
    stdout: Stream,
    stderr: Stream,
    /// Whether a person reads stderr.
    person: bool,
}

/// One of the two, with what became of it.
struct Stream {
    writer: Box<dyn Write + Send>,
    gone: bool,
    error: Option<io::Error>,
}

impl Stream {
    fn new(writer: impl Write + Send + 'static) -> Self {
        Self { writer: Box::new(writer), gone: false, error: None }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.gone {
            return;
        }
        if let Err(error) = self.writer.write_all(bytes).and_then(|()| self.writer.flush()) {
            self.gone = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.error = Some(error);
            }
        }
    }
}

impl Output {
    /// The process's own.
    pub(crate) fn of_process() -> Self {
        let person = io::stderr().is_terminal();
        Self { stdout: Stream::new(io::stdout()), stderr: Stream::new(io::stderr()), person }
    }

    /// A line of result.
    pub(crate) fn line(&mut self, text: impl Display) {
        self.stdout.write(format!("{text}\n").as_bytes());
    }

    /// Lines of result.
    pub(crate) fn lines(&mut self, lines: impl IntoIterator<Item = String>) {
        let text: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
        self.stdout.write(text.as_bytes());
    }

    /// Result bytes as they are: documents are never touched on their way out.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stdout.write(bytes);
    }

    /// A report as indented JSON.
    pub(crate) fn json(&mut self, report: &impl serde::Serialize) -> Outcome {
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| Failure::chain(Exit::Failure, &error).context("failed to write the report as JSON"))?;
        self.line(escape_json(&text));
        Ok(())
    }

    /// A line about the work.
    pub(crate) fn note(&mut self, text: impl Display) {
        let text = text.to_string();
        self.stderr.write(format!("{}\n", escape(&text)).as_bytes());
    }

    /// A line that only a person wants.
    pub(crate) fn note_for_people(&mut self, text: impl Display) {
        if self.person {
            self.note(text);
        }
    }

    /// A line about something that is probably not what was meant.
    pub(crate) fn warning(&mut self, text: impl Display) {
        self.note(format_args!("warning: {text}"));
    }

    /// Says why it failed. `prefix` is `error: `, or nothing where docker's bare form is wanted.
    pub(crate) fn failure(&mut self, failure: &Failure, prefix: &str) {
        self.note(format_args!("{prefix}{}", without_error_numbers(&failure.message)));
        if let Some(hint) = failure.hint.as_ref().filter(|_| self.person || !failure.hint_for_people) {
            self.note(format_args!("hint: {hint}"));
        }
    }

    /// Whether all that was written arrived. A full disk behind stdout must not pass for success.
    pub(crate) fn finish(&mut self) -> Outcome {
        match self.stdout.error.take() {
            Some(error) => Err(Failure::chain(Exit::Failure, &error).context("failed to write to standard output")),
            None => Ok(()),
        }
    }
}

/// The system's words without the number that the standard library puts behind them.
fn without_error_numbers(message: &str) -> String {
    const OPENING: &str = " (os error ";
    let mut pieces = message.split(OPENING);
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => shown.push_str(rest),
            _ => {
                shown.push_str(OPENING);
                shown.push_str(piece);
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_errors_are_left_out() {
        let refused = "refused (no (os error 111)); lost: gone (os error 2)";
        assert_eq!(without_error_numbers(refused), "refused (no); lost: gone");
        assert_eq!(without_error_numbers("a (os error x) (os error 2"), "a (os error x) (os error 2");
    }

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn output(kind: io::ErrorKind) -> Output {
        Output { stdout: Stream::new(Refusing(kind)), stderr: Stream::new(io::sink()), person: false }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let mut output = output(io::ErrorKind::BrokenPipe);
        output.line("x");
        output.line("y");
        assert!(output.finish().is_ok());
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let mut output = output(io::ErrorKind::StorageFull);
        output.line("x");
        let failure = output.finish().unwrap_err();
        assert_eq!(failure.exit, Exit::Failure);
        assert!(failure.message.starts_with("failed to write to standard output: "), "{}", failure.message);
    }
}
