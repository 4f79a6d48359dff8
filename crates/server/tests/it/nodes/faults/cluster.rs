//! Nodes, each a process, over a PostgreSQL primary with a synchronous standby, and ways to break what is between them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};

use tempfile::TempDir;

use super::load::{Addresses, Ledger, Load};
use super::network::{Network, Place};
use crate::delivery_process::{add_channel_by, sealpost, start_at};
use crate::nodes::SECRET;
use crate::nodes::pair::Pair;
use crate::storage::{Passage, Storage, Way};

/// A deadline that each attempt to deliver has, in seconds; leases last a little longer.
const ATTEMPT: &str = "2";

/// Where documents are kept.
enum Documents {
    Bucket(Storage),
    /// A folder that the nodes share.
    Folder(TempDir),
}

/// How nodes reach the databases.
enum Ways {
    /// Through proxies of the test, one for the primary and one for the standby.
    Proxies([Passage; 2]),
    /// From a network namespace of its own.
    Namespace(Place),
}

/// A node with its own ways to the databases.
struct Node {
    process: Child,
    folder: TempDir,
    ways: Ways,
}

pub(super) struct Cluster {
    pub(super) pair: Pair,
    network: Option<Network>,
    documents: Documents,
    /// How long a statement may take, in seconds.
    statement_seconds: u64,
    nodes: Vec<Node>,
    addresses: Addresses,
}

impl Cluster {
    /// Three nodes that reach the databases through proxies, and keep documents in this bucket.
    pub(super) async fn behind_proxies(bucket: Storage, statement_seconds: u64) -> Cluster {
        Self::start(
            Pair::start(),
            None,
            Documents::Bucket(bucket),
            statement_seconds,
        )
        .await
    }

    /// Three nodes and both databases, each in a network namespace of its own. The receiver is to be with the test.
    pub(super) async fn in_namespaces(network: Network, statement_seconds: u64) -> Cluster {
        let places = [network.place("primary"), network.place("standby")];
        let pair = Pair::start_in(places);
        let folder = Documents::Folder(tempfile::tempdir().unwrap());
        Self::start(pair, Some(network), folder, statement_seconds).await
    }

    async fn start(
        pair: Pair,
        network: Option<Network>,
        documents: Documents,
        statement_seconds: u64,
    ) -> Cluster {
        let mut cluster = Cluster {
            pair,
            network,
            documents,
            statement_seconds,
            nodes: Vec::new(),
            addresses: Addresses::default(),
        };
        for name in ["a", "b", "c"] {
            let ways = match &cluster.network {
                Some(network) => Ways::Namespace(network.place(name)),
                None => {
                    let (primary, standby) = (
                        cluster.pair.primary.to_string(),
                        cluster.pair.standby.to_string(),
                    );
                    Ways::Proxies([Passage::to(&primary).await, Passage::to(&standby).await])
                }
            };
            let folder = tempfile::tempdir().unwrap();
            let (process, address) = cluster.start_node(folder.path(), &ways).await;
            cluster.addresses.lock().unwrap().push(address);
            cluster.nodes.push(Node {
                process,
                folder,
                ways,
            });
        }
        cluster
    }

    async fn start_node(&self, folder: &Path, ways: &Ways) -> (Child, SocketAddr) {
        let at = match ways {
            Ways::Proxies(_) => "127.0.0.1:0".to_owned(),
            Ways::Namespace(place) => format!("{}:0", place.address),
        };
        start_at(self.program(folder, ways), &at).await
    }

    /// The program with all that the nodes have in common.
    fn program(&self, folder: &Path, ways: &Ways) -> Command {
        let mut command = match &self.documents {
            Documents::Bucket(bucket) => {
                let options = bucket.options();
                let mut command = sealpost(folder);
                command
                    .env("SEALPOST_DOCUMENTS_URL", options.to_string())
                    .env("SEALPOST_DOCUMENTS_ENDPOINT", options.endpoint.unwrap())
                    .env("SEALPOST_DOCUMENTS_ALLOW_HTTP", "true")
                    .env("SEALPOST_DOCUMENTS_ACCESS_KEY_ID", "test")
                    .env("SEALPOST_DOCUMENTS_SECRET_ACCESS_KEY", "test")
                    .env("SEALPOST_DOCUMENTS_SECONDS", "2");
                command
            }
            Documents::Folder(shared) => sealpost(shared.path()),
        };
        let [first, second] = match ways {
            Ways::Proxies(ways) => [ways[0].address, ways[1].address],
            Ways::Namespace(_) => [self.pair.primary, self.pair.standby],
        };
        let database = format!("postgres://sealpost@{first},{second}/postgres?sslmode=disable");
        command
            .env("SEALPOST_SECRET", SECRET)
            .env("SEALPOST_DATABASE_URL", database)
            .env("SEALPOST_DATABASE_SESSIONS", "4")
            .env(
                "SEALPOST_DATABASE_STATEMENT_SECONDS",
                self.statement_seconds.to_string(),
            )
            .env("SEALPOST_DELIVERY_ATTEMPT_SECONDS", ATTEMPT);
        match ways {
            Ways::Proxies(_) => command,
            Ways::Namespace(place) => {
                command.env("SEALPOST_DELIVERY_ALLOW_NETWORKS", Network::RANGE);
                place.within(&command)
            }
        }
    }

    /// Adds a channel whose receiver keeps a ledger, and starts its clients.
    pub(super) async fn under_load(&self) -> Load {
        let ledger = Ledger::default();
        let at = match &self.network {
            Some(_) => format!("{}:0", Network::TEST),
            None => "127.0.0.1:0".to_owned(),
        };
        let receiver = ledger.listen(&at).await;
        let node = &self.nodes[0];
        let program = self.program(node.folder.path(), &node.ways);
        // So soon again that what failed while a node was paused is not what the test waits for.
        let schedule = ["--schedule", "1s,2s,3s"];
        let key = add_channel_by(program, "链家", receiver, &schedule);
        Load::start(self.addresses.clone(), key, ledger)
    }

    pub(super) fn address(&self, node: usize) -> SocketAddr {
        self.addresses.lock().unwrap()[node]
    }

    pub(super) async fn kill_and_restart(&mut self, node: usize) {
        let killed = &mut self.nodes[node];
        killed.process.kill().unwrap();
        killed.process.wait().unwrap();
        let killed = &self.nodes[node];
        let (process, address) = self.start_node(killed.folder.path(), &killed.ways).await;
        self.nodes[node].process = process;
        self.addresses.lock().unwrap()[node] = address;
    }

    pub(super) fn signal(&self, node: usize, signal: &str) {
        let process = self.nodes[node].process.id().to_string();
        let status = Command::new("kill").args([signal, &process]).status();
        assert!(status.unwrap().success());
    }

    pub(super) fn set_storage(&self, way: Way) {
        if let Documents::Bucket(bucket) = &self.documents {
            bucket.set_way(way);
        }
    }

    /// Nothing passes between a node and the databases, and nobody is told.
    pub(super) fn cut_off(&self, node: usize) {
        match &self.nodes[node].ways {
            Ways::Proxies(ways) => ways.iter().for_each(|way| way.set_way(Way::Silent)),
            Ways::Namespace(place) => {
                let network = self.network.as_ref().unwrap();
                for database in ["primary", "standby"] {
                    let database = network.place(database);
                    network.cut(place, &database);
                    network.cut(&database, place);
                }
            }
        }
    }

    /// What a node asks of the databases arrives, and their answers do not. Needs namespaces.
    pub(super) fn lose_answers(&self, node: usize) {
        let network = self.network.as_ref().unwrap();
        if let Ways::Namespace(place) = &self.nodes[node].ways {
            for database in ["primary", "standby"] {
                network.cut(&network.place(database), place);
            }
        }
    }

    /// A node reaches no receiver any more. Needs namespaces.
    pub(super) fn cut_off_from_receivers(&self, node: usize) {
        let network = self.network.as_ref().unwrap();
        if let Ways::Namespace(place) = &self.nodes[node].ways {
            network.cut(place, &Place::of_test());
        }
    }

    /// Nothing passes between the primary and the others.
    pub(super) fn cut_off_primary(&self) {
        for node in &self.nodes {
            match &node.ways {
                Ways::Proxies(ways) => ways[0].set_way(Way::Silent),
                Ways::Namespace(place) => self.cut_primary_from(place),
            }
        }
        if let Some(network) = &self.network {
            self.cut_primary_from(&network.place("standby"));
        }
    }

    fn cut_primary_from(&self, other: &Place) {
        let network = self.network.as_ref().unwrap();
        let primary = network.place("primary");
        network.cut(&primary, other);
        network.cut(other, &primary);
    }

    /// Everything passes again.
    pub(super) fn heal(&self) {
        if let Some(network) = &self.network {
            network.heal();
        }
        for node in &self.nodes {
            if let Ways::Proxies(ways) = &node.ways {
                ways.iter().for_each(|way| way.set_way(Way::Clear));
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.process.kill();
            let _ = node.process.wait();
        }
    }
}
