//! From a location to its store.

use std::path::PathBuf;
use std::sync::Arc;

use content::ContentStore;
use registry_client::{Access, RegistryClient};
use tokio::sync::OnceCell;

use crate::error::StoreError;
use crate::layout::LayoutStore;
use crate::local::{self, LocalStore};
use crate::location::Location;
use crate::registry::RegistryStore;
use crate::traits::ImageStore;

/// Opens stores. Cloning is cheap; clones share the registry client and the content store.
#[derive(Clone, Debug)]
pub struct Stores {
    client: RegistryClient,
    local: Arc<Local>,
}

#[derive(Debug)]
struct Local {
    data_dir: PathBuf,
    content: OnceCell<ContentStore>,
}

impl Stores {
    /// Stores over a registry client and the data directory of the local store. Nothing is opened yet.
    pub fn new(client: RegistryClient, data_dir: PathBuf) -> Self {
        Self { client, local: Arc::new(Local { data_dir, content: OnceCell::new() }) }
    }

    /// The registry client.
    pub fn client(&self) -> &RegistryClient {
        &self.client
    }

    /// The content store of the data directory, opened when it is asked for first.
    pub async fn content(&self) -> Result<&ContentStore, StoreError> {
        let data_dir = &self.local.data_dir;
        let open = || ContentStore::open(data_dir, content::Options::default());
        let opened = self.local.content.get_or_try_init(open).await;
        opened.map_err(|error| local::failure(format!("open the local store at `{}`", data_dir.display()), error))
    }

    /// The store that a location is in, to be read. Nothing is sent or created, but the local store is opened.
    ///
    /// A registry is told with its first token that this repository will be read: open all that is needed before
    /// asking the first of them, and one token does for all repositories of a registry.
    pub async fn open(&self, location: &Location) -> Result<Arc<dyn ImageStore>, StoreError> {
        self.open_for(location, Access::Pull).await
    }

    /// [`Stores::open`] for a store that will be written to.
    pub async fn open_for_writing(&self, location: &Location) -> Result<Arc<dyn ImageStore>, StoreError> {
        self.open_for(location, Access::Push).await
    }

    async fn open_for(&self, location: &Location, access: Access) -> Result<Arc<dyn ImageStore>, StoreError> {
        Ok(match location {
            Location::Registry(reference) => {
                let store = RegistryStore::new(self.client.repository(reference.registry(), reference.repository()));
                store.expect(access);
                Arc::new(store)
            }
            Location::Local(reference) => {
                let content = self.content().await?.clone();
                let (registry, name) = (reference.registry().clone(), reference.repository().clone());
                Arc::new(LocalStore::new(content, self.local.data_dir.clone(), registry, name))
            }
            Location::Layout { directory, target } => {
                let store = LayoutStore::new(directory);
                Arc::new(if target.is_none() { store.sole_entry_as_latest() } else { store })
            }
        })
    }
}
