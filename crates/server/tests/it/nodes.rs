//! Several nodes over one PostgreSQL database and one bucket of documents.

mod faults;
mod joining;
mod pair;
mod races;
mod rolling;
mod storage_faults;
mod takeover;
mod versions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sealpost_server::config::Config;
use sealpost_server::http_client::HttpClient;
use sealpost_store::PostgresOptions;
use serde_json::json;

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

/// Hands over callbacks, each client's its own, until told to end; none may be refused, and no request may fail.
async fn hand_over(
    url: String,
    key: String,
    client: u64,
    done: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
) {
    let http = HttpClient::default();
    for number in 0_u64.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let body = json!({
            "sign_end_time": "2021-03-22 18:24:29",
            "sign_flow_status": "2",
            "sign_flow_id": format!("{client:016x}{number:016x}"),
            "sign_file_url": "https://sealpost.example/f/0123456789abcdefghijklmn",
        });
        let answer = http.post(&url, Some(&key), &body).await;
        let answer = answer.unwrap_or_else(|error| panic!("request {number} failed: {error:?}"));
        assert_eq!(
            answer.status,
            202,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        made.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
