//! Several nodes over one PostgreSQL database and one bucket of documents.

mod faults;
mod joining;
mod pair;
mod races;
mod rolling;
mod storage_faults;
mod takeover;
mod versions;

use sealpost_server::config::Config;
use sealpost_store::PostgresOptions;

use crate::postgres::database;
use crate::storage::Storage;
use crate::support::TestApp;

/// The master secret that the nodes share.
pub(crate) const SECRET: &str = "abababababababababababababababababababababababababababababababab";

/// What nodes have in common.
pub(crate) struct Shared {
    pub(crate) database: PostgresOptions,
    pub(crate) storage: Storage,
}

impl Shared {
    pub(crate) async fn start(name: &str) -> Shared {
        let mut database = database(name).await;
        database.sessions = 4;
        Shared {
            database,
            storage: Storage::start(name).await,
        }
    }

    /// Starts one more node.
    pub(crate) async fn node(&self) -> TestApp {
        self.node_with(|_| ()).await
    }

    pub(crate) async fn node_with(&self, set: impl FnOnce(&mut Config)) -> TestApp {
        TestApp::start_as(Some(SECRET), |config| {
            config.database = Some(self.database.clone());
            config.documents = Some(self.storage.options());
            set(config);
        })
        .await
    }

    pub(crate) async fn nodes<const N: usize>(&self) -> [TestApp; N] {
        let mut nodes = Vec::new();
        for _ in 0..N {
            nodes.push(self.node().await);
        }
        nodes.try_into().unwrap_or_else(|_| panic!("{N} nodes"))
    }
}
