//! A PostgreSQL server of a test's own, to be stopped and started again as the test likes.

use crate::made;
use crate::postgresql::succeeds;

/// A server over a cluster of its own, reached by a Unix socket.
pub(crate) struct Cluster(made::Cluster);

impl Cluster {
    /// Makes a cluster and starts a server over it.
    pub(crate) fn start() -> Self {
        let cluster = Self(made::Cluster::make());
        cluster.start_again();
        cluster
    }

    pub(crate) fn start_again(&self) {
        self.0.start("-c listen_addresses=''");
    }

    /// Ends every process of the server at once, as a crash would; it has to recover when it is started again.
    pub(crate) fn stop_at_once(&self) {
        succeeds(self.0.control().args(["--mode", "immediate", "stop"]));
    }

    pub(crate) fn url(&self) -> String {
        let folder = self.0.path().display().to_string().replace('/', "%2F");
        format!("postgres://sealpost@{folder}/postgres")
    }
}
