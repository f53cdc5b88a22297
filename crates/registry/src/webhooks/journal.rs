//! The file in which events wait that were not delivered yet.
//!
//! A line for each event, and a line when it is done with; the file is emptied when nothing waits. It is not synchronised: it
//! survives the end of the process, and perhaps not a power cut, and the write that an event tells of does not wait
//! for a disk once more. Several processes may have the same directory: each has files of its own, locked while it runs, and
//! takes over what those left that run no longer.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::message::Message;
use super::{WebhookError, journal_error};

/// Processes that may have the same directory at once.
const SLOTS: usize = 64;
/// A journal of this size is written anew when most of it is done with.
const WORTH_IT: u64 = 4 << 20;
/// More than this is not read: nothing that we write becomes so large.
const LARGEST: u64 = 256 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Held while this process has the journal.
    _lock: File,
    /// Up to here the file is whole lines.
    length: u64,
}

impl Journal {
    /// Opens the first journal of this stem that nobody has, and reads what waits in all that nobody has.
    pub(super) fn open(directory: &Path, stem: &str) -> Result<(Self, VecDeque<Message>), WebhookError> {
        make_directory(directory).map_err(journal_error(directory))?;
        let mut own: Option<(PathBuf, File)> = None;
        let mut messages = VecDeque::new();
        let mut adopted = Vec::new();
        for slot in 0..SLOTS {
            let path = directory.join(format!("{stem}.{slot}.journal"));
            if own.is_some() && !path.exists() {
                continue;
            }
            let Some(lock) = lock(&path.with_extension("lock")).map_err(journal_error(&path))? else { continue };
            read(&path, &mut messages).map_err(journal_error(&path))?;
            if own.is_none() {
                own = Some((path, lock));
            } else {
                adopted.push((path, lock));
            }
        }
        let Some((path, lock)) = own else {
            let taken = io::Error::other(format!("{SLOTS} processes have it already"));
            return Err(journal_error(directory)(taken));
        };
        let failed = journal_error(&path);
        let (file, length) = write_anew(&path, &messages).map_err(&failed)?;
        for (path, lock) in adopted {
            // Whoever comes next would deliver it again, which is allowed.
            let _ = fs::remove_file(path);
            drop(lock);
        }
        Ok((Self { path, file, _lock: lock, length }, messages))
    }

    /// An event waits.
    pub(super) fn add(&mut self, message: &Message) -> io::Result<()> {
        self.line(b'+', &message.body)
    }

    /// An event is done with; these still wait.
    pub(super) fn done(&mut self, message: &Message, waiting: &VecDeque<Message>) -> io::Result<()> {
        if waiting.is_empty() {
            self.file.set_len(0)?;
            self.length = 0;
            return Ok(());
        }
        let live: u64 = waiting.iter().map(|message| message.body.len() as u64 + 2).sum();
        if self.length > WORTH_IT && self.length / 2 > live {
            (self.file, self.length) = write_anew(&self.path, waiting)?;
            return Ok(());
        }
        self.line(b'-', message.id.as_bytes())
    }

    fn line(&mut self, kind: u8, text: &[u8]) -> io::Result<()> {
        let mut line = Vec::with_capacity(text.len() + 2);
        line.push(kind);
        line.extend_from_slice(text);
        line.push(b'\n');
        match self.file.write_all(&line) {
            Ok(()) => {
                self.length += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a line would swallow the next one.
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// `None`: somebody else has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = options().write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Adds what waits in a journal. Lines that make no sense are left out: the last one may be half a line.
fn read(path: &Path, messages: &mut VecDeque<Message>) -> io::Result<()> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let bytes = Bytes::from(bytes);
    let mut waiting: VecDeque<Message> = VecDeque::new();
    let mut strange = 0;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match line.split_first() {
            Some((b'+', text)) => match Message::read(Bytes::copy_from_slice(text)) {
                Some(message) => waiting.push_back(message),
                None => strange += 1,
            },
            Some((b'-', id)) => {
                // The first one, as long as this is in order.
                if let Some(at) = waiting.iter().position(|message| message.id.as_bytes() == id) {
                    waiting.remove(at);
                }
            }
            _ => strange += 1,
        }
    }
    if strange > 0 {
        tracing::warn!(path = %path.display(), lines = strange, "lines of a journal of webhooks could not be read");
    }
    messages.append(&mut waiting);
    Ok(())
}

/// Writes a journal with these alone, and puts it in place of the one before.
fn write_anew(path: &Path, messages: &VecDeque<Message>) -> io::Result<(File, u64)> {
    let beside = path.with_extension("new");
    let mut file = options().write(true).create(true).truncate(true).open(&beside)?;
    let mut text = Vec::new();
    for message in messages {
        text.push(b'+');
        text.extend_from_slice(&message.body);
        text.push(b'\n');
    }
    file.write_all(&text)?;
    drop(file);
    fs::rename(&beside, path)?;
    let mut file = options().append(true).open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    Ok((file, length))
}

/// Removes what waits for endpoints that are set no longer, and says so.
pub(super) fn discard_others(directory: &Path, stems: &[String]) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(".journal").and_then(|name| name.split('.').next()) else { continue };
        if stems.iter().any(|known| known == stem) {
            continue;
        }
        // Somebody else may have other settings, and deliver it.
        let Ok(Some(_lock)) = lock(&path.with_extension("lock")) else { continue };
        let mut messages = VecDeque::new();
        let _ = read(&path, &mut messages);
        if fs::remove_file(&path).is_ok() && !messages.is_empty() {
            let events = messages.len();
            tracing::warn!(events, "events were dropped: the webhook that they waited for is set no longer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: usize) -> Message {
        let text = format!(r#"{{"id":"{id}","event":"tag-moved","time":"2026-03-01T09:30:00Z"}}"#);
        Message::read(text.into()).unwrap()
    }

    fn ids(messages: &VecDeque<Message>) -> Vec<&str> {
        messages.iter().map(|message| &*message.id).collect()
    }

    #[test]
    fn what_waits_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, waiting) = Journal::open(directory.path(), "a").unwrap();
        assert!(waiting.is_empty());
        let mut waiting: VecDeque<_> = (0..4).map(message).collect();
        for message in &waiting {
            journal.add(message).unwrap();
        }
        let first = waiting.pop_front().unwrap();
        journal.done(&first, &waiting).unwrap();
        // As after a crash in the middle of a line.
        journal.file.write_all(b"+{\"id\":\"9").unwrap();
        drop(journal);
        let (mut journal, mut waiting) = Journal::open(directory.path(), "a").unwrap();
        assert_eq!(ids(&waiting), ["1", "2", "3"]);
        while let Some(first) = waiting.pop_front() {
            journal.done(&first, &waiting).unwrap();
        }
        assert_eq!(fs::metadata(&journal.path).unwrap().len(), 0);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&journal.path).unwrap().permissions().mode() & 0o077, 0);
        }
    }

    #[test]
    fn processes_have_journals_of_their_own_and_take_over_what_others_left() {
        let directory = tempfile::tempdir().unwrap();
        let (mut one, _) = Journal::open(directory.path(), "a").unwrap();
        let (mut two, waiting) = Journal::open(directory.path(), "a").unwrap();
        assert_ne!(one.path, two.path);
        assert!(waiting.is_empty());
        one.add(&message(1)).unwrap();
        two.add(&message(2)).unwrap();
        let (three, waiting) = Journal::open(directory.path(), "a").unwrap();
        assert!(waiting.is_empty(), "the others run");
        drop((one, two, three));
        let (_all, waiting) = Journal::open(directory.path(), "a").unwrap();
        assert_eq!(ids(&waiting), ["1", "2"]);
        let (_, waiting) = Journal::open(directory.path(), "a").unwrap();
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_journal_that_never_becomes_empty_does_not_grow() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, mut waiting) = Journal::open(directory.path(), "a").unwrap();
        let mut longest = 0;
        for id in 0..200_000 {
            waiting.push_back(message(id));
            journal.add(&message(id)).unwrap();
            if waiting.len() > 3 {
                let first = waiting.pop_front().unwrap();
                journal.done(&first, &waiting).unwrap();
            }
            longest = longest.max(journal.length);
        }
        assert!(longest < WORTH_IT + 1000, "{longest}");
        drop(journal);
        let (_, again) = Journal::open(directory.path(), "a").unwrap();
        assert_eq!(ids(&again), ids(&waiting));
    }

    #[test]
    fn journals_of_endpoints_that_are_set_no_longer_go() {
        let directory = tempfile::tempdir().unwrap();
        for stem in ["a", "b"] {
            let (mut journal, _) = Journal::open(directory.path(), stem).unwrap();
            journal.add(&message(1)).unwrap();
        }
        discard_others(directory.path(), &["b".to_owned()]);
        assert!(Journal::open(directory.path(), "a").unwrap().1.is_empty());
        assert_eq!(Journal::open(directory.path(), "b").unwrap().1.len(), 1);
    }
}
