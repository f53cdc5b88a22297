//! A disk in memory that can fail at any call, and whose power can be cut at any call.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, SystemTime};

use polyarch_content::disk::{Disk, DiskEntry, DiskFile};

/// What is done at a call that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails.
    Error,
    /// There is no room; of a write, half is done.
    Full,
    /// The power goes: this call and all after it fail, until it is back.
    PowerCut,
}

/// A change of names. On a journalling file system it comes through whole or not at all.
#[derive(Clone, Debug)]
enum Change {
    Add(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Change {
    fn touches(&self, directory: &Path) -> bool {
        match self {
            Self::Add(path, _) | Self::Remove(path) => path.parent() == Some(directory),
            Self::Rename(from, to) => from.parent() == Some(directory) || to.parent() == Some(directory),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Add(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since they were last made durable, in order.
    pending: Vec<Change>,
    directories: BTreeSet<PathBuf>,
    locks: HashMap<usize, u64>,
    /// Of each file that is locked: how many share it; `None` is one alone.
    shared: HashMap<PathBuf, Option<usize>>,
    /// Everybody gets every lock.
    lockless: bool,
    /// Where the next removal of a file waits.
    gate: Option<Gate>,
    opened: u64,
    calls: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
}

/// Stops a removal between the look for whether it may be and the removal itself.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) reached: mpsc::Sender<()>,
    pub(crate) open: mpsc::Receiver<()>,
}

/// A simulated disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simulated(Arc<Mutex<State>>);

impl Simulated {
    /// One that gives every lock to everybody.
    #[allow(dead_code)] // for one of the tests that use this file
    pub(crate) fn without_locks() -> Self {
        Self(Arc::new(Mutex::new(State { lockless: true, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// One call of those that change something.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.calls += 1;
        if state.dead {
            return Err(io::Error::other("the power is gone"));
        }
        match state.fault {
            Some((at, fault)) if at == state.calls => match fault {
                Fault::Error => Err(io::Error::other("a fault was put in")),
                Fault::Full => Err(io::ErrorKind::StorageFull.into()),
                Fault::PowerCut => {
                    state.dead = true;
                    Err(io::Error::other("the power is gone"))
                }
            },
            _ => Ok(state),
        }
    }

    /// How many calls there were since this was asked for last.
    pub(crate) fn take_calls(&self) -> u64 {
        std::mem::take(&mut self.state().calls)
    }

    /// Puts a fault in at the `at`-th call from now.
    pub(crate) fn set_fault(&self, at: u64, fault: Fault) {
        let mut state = self.state();
        state.calls = 0;
        state.fault = Some((at, fault));
    }

    /// Lets the next removal of a file wait at a gate.
    #[allow(dead_code)] // for one of the tests that use this file
    pub(crate) fn stop_removal(&self, gate: Gate) {
        self.state().gate = Some(gate);
    }

    pub(crate) fn clear_fault(&self) {
        self.state().fault = None;
    }

    /// The disk as it is found after a power cut: what was synced is there; of what was not, a part may be.
    pub(crate) fn after_power_cut(&self, choice: u64) -> Self {
        let state = self.state();
        let mut names = state.durable_names.clone();
        // Names come through in order, as a journal writes them.
        let kept = choice as usize % (state.pending.len() + 1);
        for change in &state.pending[..kept] {
            change.apply(&mut names);
        }
        let inodes = state
            .inodes
            .iter()
            .enumerate()
            .map(|(number, inode)| {
                let found = match (choice >> 8).wrapping_add(number as u64) % 4 {
                    0 => inode.now.clone(),
                    1 if inode.durable != inode.now => vec![0; inode.now.len()],
                    2 if inode.durable != inode.now => inode.now[..inode.now.len() / 2].to_vec(),
                    _ => inode.durable.clone(),
                };
                // What was synced and not changed since is there, whatever else is lost.
                let found = if inode.durable == inode.now { inode.durable.clone() } else { found };
                Inode { now: found.clone(), durable: found }
            })
            .collect();
        let directories = state.directories.clone();
        let state = State { inodes, durable_names: names.clone(), names, directories, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: Simulated,
    inode: usize,
    handle: u64,
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.inode) == Some(&self.handle) {
            state.locks.remove(&self.inode);
        }
    }
}

impl DiskFile for SimulatedFile {
    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.disk.state();
        Ok(*state.locks.entry(self.inode).or_insert(self.handle) == self.handle)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (result, bytes) = match self.disk.call() {
            Ok(_) => (Ok(()), bytes),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => (Err(error), &bytes[..bytes.len() / 2]),
            Err(error) => return Err(error),
        };
        let mut state = self.disk.state();
        let content = &mut state.inodes[self.inode].now;
        let end = offset as usize + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(bytes);
        result
    }

    fn read_at(&self, offset: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let state = self.disk.state();
        let content = &state.inodes[self.inode].now;
        let start = (offset as usize).min(content.len());
        buffer.clear();
        buffer.extend_from_slice(&content[start..(start + length).min(content.len())]);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.call()?.inodes[self.inode].now.resize(length as usize, 0);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].now.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.call()?;
        let inode = &mut state.inodes[self.inode];
        inode.durable.clone_from(&inode.now);
        Ok(())
    }
}

impl Simulated {
    fn handle(&self, inode: usize) -> Box<dyn DiskFile> {
        let mut state = self.state();
        state.opened += 1;
        Box::new(SimulatedFile { disk: self.clone(), inode, handle: state.opened })
    }

    fn change(state: &mut State, change: Change) {
        change.apply(&mut state.names);
        state.pending.push(change);
    }
}

struct SimulatedLock(Simulated, PathBuf);

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.0.state();
        match state.shared.get_mut(&self.1) {
            Some(Some(others)) if *others > 1 => *others -= 1,
            _ => drop(state.shared.remove(&self.1)),
        }
    }
}

impl Disk for Simulated {
    fn lock(&self, path: &Path, alone: bool) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut state = self.call()?;
        if state.lockless {
            return Ok(Some(Box::new(())));
        }
        let held = match state.shared.get(path) {
            None if alone => None,
            None => Some(1),
            Some(Some(others)) if !alone => Some(others + 1),
            Some(_) => return Ok(None),
        };
        state.shared.insert(path.to_owned(), held);
        Ok(Some(Box::new(SimulatedLock(self.clone(), path.to_owned()))))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        Self::change(&mut state, Change::Add(path.to_owned(), inode));
        drop(state);
        Ok(self.handle(inode))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_to_read(path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.state().names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        if !state.names.contains_key(from) || !state.directories.contains(to.parent().unwrap()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Self::change(&mut state, Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let gate = self.state().gate.take();
        if let Some(gate) = gate {
            gate.reached.send(()).map_err(io::Error::other)?;
            gate.open.recv_timeout(Duration::from_secs(60)).map_err(io::Error::other)?;
        }
        let mut state = self.call()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Self::change(&mut state, Change::Remove(path.to_owned()));
        Ok(())
    }

    fn create_directory(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.call()?;
        let new = !state.directories.contains(path);
        state.directories.extend(path.ancestors().map(Path::to_owned));
        Ok(new)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        // All up to the last change in this directory: a journal does not let a later one overtake.
        let Some(last) = state.pending.iter().rposition(|change| change.touches(path)) else { return Ok(()) };
        let through: Vec<_> = state.pending.drain(..=last).collect();
        for change in through {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let state = self.state();
        let inside = state.names.iter().filter(|(name, _)| name.parent() == Some(path));
        Ok(inside
            .map(|(name, inode)| DiskEntry {
                name: name.file_name().unwrap().to_str().unwrap().to_owned(),
                length: state.inodes[*inode].now.len() as u64,
                modified: SystemTime::UNIX_EPOCH,
            })
            .collect())
    }
}
