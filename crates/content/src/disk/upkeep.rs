//! Looking through the files of a data directory, and moving what is wrong out of the way.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use image::{Algorithm, Digest};

use super::{DiskBlobStore, Inner, blocking, layout, shown};
use crate::blob_store::Claim;
use crate::metadata_store::BlobRecord;
use crate::upkeep::{BlobUpkeep, Leftover, LeftoverKind};
use crate::{ContentError, StageId};

/// Below the data directory.
const QUARANTINE: &str = "quarantine";
/// Files of one name that are kept before somebody must look at them.
const NAMESAKES: u32 = 10_000;

impl Inner {
    fn survey(&self) -> Result<Vec<Leftover>, ContentError> {
        let list = |path: &Path| {
            self.disk.list(path).map_err(|error| ContentError::io(format!("list {}", shown(path)), error))
        };
        let mut found = Vec::new();
        for entry in list(&self.layout.uploads())? {
            let ours = layout::is_stage_name(&entry.name);
            // Stages made ahead of need are not left over from anything.
            if ours && entry.length == 0 {
                continue;
            }
            let kind =
                if ours { LeftoverKind::Stage(StageId::new(entry.name.as_str())) } else { LeftoverKind::Unknown };
            found.push(Leftover { name: format!("uploads/{}", entry.name), size: entry.length, kind });
        }
        let mut stray = |directory: String, path: &Path| -> Result<(), ContentError> {
            for entry in list(path)? {
                let name = format!("{directory}/{}", entry.name);
                found.push(Leftover { name, size: entry.length, kind: LeftoverKind::Unknown });
            }
            Ok(())
        };
        stray("blobs".to_owned(), &self.layout.blobs())?;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            stray(format!("blobs/{}", algorithm.as_str()), &self.layout.algorithm(algorithm))?;
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for shard in 0..=255u8 {
                let shard = format!("{shard:02x}");
                for entry in list(&self.layout.algorithm(algorithm).join(&shard))? {
                    let digest = Digest::parse(&format!("{}:{}", algorithm.as_str(), entry.name)).ok();
                    // One in the shard of others is found by nobody.
                    let kind = digest
                        .filter(|digest| digest.hex().starts_with(&shard))
                        .map_or(LeftoverKind::Unknown, LeftoverKind::Blob);
                    let name = format!("blobs/{}/{shard}/{}", algorithm.as_str(), entry.name);
                    found.push(Leftover { name, size: entry.length, kind });
                }
            }
        }
        Ok(found)
    }

    /// Where something of the inventory is: its name is made of names that were found there.
    fn place_of(&self, item: &Leftover) -> PathBuf {
        match &item.kind {
            LeftoverKind::Stage(stage) => self.layout.stage(stage),
            LeftoverKind::Blob(digest) => self.layout.blob(digest),
            LeftoverKind::Unknown => self.layout.root().join(&item.name),
        }
    }

    fn is_file(&self, path: &Path) -> Result<bool, ContentError> {
        match self.disk.open_to_read(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // It may not be readable, but it is there.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(true),
            Err(error) => Err(ContentError::io(format!("open {}", shown(path)), error)),
        }
    }

    /// A name in the quarantine that nothing has: what it is called, and where it is.
    fn free_place(&self, name: &str) -> Result<(String, PathBuf), ContentError> {
        let directory = self.layout.root().join(QUARANTINE);
        let made = self.disk.create_directory(&directory);
        made.map_err(|error| ContentError::io(format!("make the directory {}", shown(&directory)), error))?;
        let plain: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' })
            .collect();
        for number in 0..NAMESAKES {
            let name = if number == 0 { plain.clone() } else { format!("{plain}.{number}") };
            let path = directory.join(&name);
            if !self.is_file(&path)? {
                return Ok((format!("{QUARANTINE}/{name}"), path));
            }
        }
        let full = io::Error::other("too many of the same name are there already");
        Err(ContentError::io(format!("keep `{name}` in {}", shown(&directory)), full))
    }

    fn sync(&self, path: &Path) -> Result<(), ContentError> {
        let Some(directory) = path.parent() else { return Ok(()) };
        self.disk
            .sync_directory(directory)
            .map_err(|error| ContentError::io(format!("make names in {} durable", shown(directory)), error))
    }

    fn move_away(&self, item: &Leftover) -> Result<String, ContentError> {
        let from = self.place_of(item);
        let base = item.name.rsplit('/').next().unwrap_or(&item.name);
        let name = match &item.kind {
            LeftoverKind::Blob(digest) => digest.as_str().to_owned(),
            _ => base.to_owned(),
        };
        let (name, to) = self.free_place(&name)?;
        self.disk
            .rename(&from, &to)
            .map_err(|error| ContentError::io(format!("move {} to {}", shown(&from), shown(&to)), error))?;
        // First where it is, then where it is no more: it is in both rather than in none.
        self.sync(&to)?;
        self.sync(&from)?;
        Ok(name)
    }

    fn keep_bytes(&self, digest: &str, bytes: &[u8]) -> Result<String, ContentError> {
        let (name, path) = self.free_place(digest)?;
        let written = self.disk.create(&path).and_then(|file| {
            file.write_at(0, bytes)?;
            file.sync()
        });
        written.map_err(|error| ContentError::io(format!("write {}", shown(&path)), error))?;
        self.sync(&path)?;
        Ok(name)
    }
}

#[async_trait]
impl BlobUpkeep for DiskBlobStore {
    async fn inventory(&self) -> Result<Vec<Leftover>, ContentError> {
        let inner = self.inner.clone();
        blocking(move || inner.survey()).await?
    }

    async fn is_there(&self, item: &Leftover) -> Result<bool, ContentError> {
        let (inner, item) = (self.inner.clone(), item.clone());
        blocking(move || inner.is_file(&inner.place_of(&item))).await?
    }

    async fn claim_stage(&self, stage: &StageId) -> Result<Option<Claim>, ContentError> {
        let (inner, stage) = (self.inner.clone(), stage.clone());
        blocking(move || {
            let path = inner.layout.stage(&stage);
            let failed = |error| ContentError::io(format!("open {}", shown(&path)), error);
            match inner.disk.open_to_write(&path) {
                Ok(file) => Ok(if file.try_lock().map_err(failed)? { Some(Claim::holding(file)) } else { None }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(error)),
            }
        })
        .await?
    }

    async fn quarantine(&self, item: &Leftover, claim: Claim) -> Result<(String, Claim), ContentError> {
        let (inner, item) = (self.inner.clone(), item.clone());
        blocking(move || inner.move_away(&item).map(|name| (name, claim))).await?
    }

    async fn quarantine_bytes(&self, digest: &str, bytes: Bytes) -> Result<String, ContentError> {
        let (inner, digest) = (self.inner.clone(), digest.to_owned());
        blocking(move || inner.keep_bytes(&digest, &bytes)).await?
    }

    fn as_item(&self, blob: &BlobRecord) -> Leftover {
        let hex = blob.digest.hex();
        Leftover {
            name: format!("blobs/{}/{}/{hex}", blob.digest.algorithm().as_str(), &hex[..2]),
            size: blob.size,
            kind: LeftoverKind::Blob(blob.digest.clone()),
        }
    }
}
