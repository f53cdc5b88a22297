//! Stages made ahead of need: empty files in `uploads`, whose names one fsync makes durable for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Disk, DiskFile, Layout, shown};
use crate::{ContentError, StageId, UploadId};

/// A process that stages one blob makes few of them, a busy server many at a time.
const FEWEST: usize = 4;
const MOST: usize = 64;

#[derive(Debug)]
pub(super) struct Stages {
    layout: Layout,
    disk: Arc<dyn Disk>,
    ready: Mutex<Ready>,
}

#[derive(Debug)]
struct Ready {
    /// Each is locked, so that no other process takes it for a leftover.
    stages: Vec<(StageId, Box<dyn DiskFile>)>,
    next: usize,
}

impl Stages {
    pub(super) fn new(layout: Layout, disk: Arc<dyn Disk>) -> Self {
        Self { layout, disk, ready: Mutex::new(Ready { stages: Vec::new(), next: FEWEST }) }
    }

    /// Takes one, making more first if there is none. Waits for the disk.
    pub(super) fn take(&self) -> Result<(StageId, Box<dyn DiskFile>), ContentError> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = ready.stages.pop() {
            return Ok(stage);
        }
        let mut made = Vec::with_capacity(ready.next);
        for _ in 0..ready.next {
            match self.make() {
                Ok(stage) => made.push(stage),
                Err(error) => {
                    self.remove(made);
                    return Err(error);
                }
            }
        }
        let uploads = self.layout.uploads();
        if let Err(error) = self.disk.sync_directory(&uploads) {
            self.remove(made);
            return Err(ContentError::io(format!("make names in {} durable", shown(&uploads)), error));
        }
        ready.next = (ready.next * 2).min(MOST);
        ready.stages = made;
        ready
            .stages
            .pop()
            .ok_or_else(|| ContentError::io("begin an upload", std::io::Error::other("no stage was made")))
    }

    fn make(&self) -> Result<(StageId, Box<dyn DiskFile>), ContentError> {
        let stage = StageId::new(UploadId::random()?.as_str());
        let path = self.layout.stage(&stage);
        let failed = |error| ContentError::io(format!("make {}", shown(&path)), error);
        let file = self.disk.create(&path).map_err(failed)?;
        // Nobody else locks one so young.
        if file.try_lock().map_err(failed)? {
            Ok((stage, file))
        } else {
            Err(failed(std::io::ErrorKind::WouldBlock.into()))
        }
    }

    fn remove(&self, stages: Vec<(StageId, Box<dyn DiskFile>)>) {
        for (stage, _locked) in stages {
            // One that stays is cleared away when the directory is opened next.
            let _ = self.disk.remove(&self.layout.stage(&stage));
        }
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        let ready = self.ready.get_mut().unwrap_or_else(PoisonError::into_inner);
        let stages = std::mem::take(&mut ready.stages);
        self.remove(stages);
    }
}
