//! A running server: the listener, the workers, the delivery engine, and how they stop.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, OpenError};
use crate::config::Config;
use crate::router::router;
use crate::{bucket, web, workers};

/// How long attempts under way may take once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The app cannot be opened.
    #[error("the data folder cannot be opened")]
    Open(#[from] OpenError),
    /// Another server works in the data folder.
    #[error("another server is running in the data folder {path}")]
    InUse {
        /// The folder.
        path: String,
    },
    /// The data folder's lock cannot be made.
    #[error("the lock {path} cannot be made")]
    Lock {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bucket of documents does not take the key, or is not there.
    #[error("documents cannot be kept: {0}; {advice}", advice = bucket::advice(.0.refused_for()))]
    Documents(sealpost_store::Error),
    /// Callbacks cannot be delivered.
    #[error("delivery cannot be started")]
    Delivery(#[from] sealpost_delivery::Error),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    app: App,
    address: SocketAddr,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    workers: TaskTracker,
    /// Held as long as the server runs; the system lets go of it however the process ends. Nodes over PostgreSQL have none.
    _lock: Option<File>,
}

impl Server {
    /// Listens, opens the data folder, starts the workers and delivery. `secret` is the master secret when it is not to be
    /// in the data folder. When this returns, requests are answered.
    pub async fn start(mut config: Config, secret: Option<&str>) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        // With port 0 the system chose one, which links must name.
        config.listen = address;
        let trust = sealpost_delivery::client::Trust::load(config.delivery.ca_file.as_deref())?;
        let app = App::open(config, secret).await?;
        let lock = match app.config().database {
            None => Some(lock(&app.config().data)?),
            Some(_) => None,
        };
        if app.config().documents.is_some() {
            bucket::prove(app.store())
                .await
                .map_err(StartError::Documents)?;
        }
        app.join().await?;
        app.open_operator_keys().await.map_err(OpenError::from)?;
        app.make_spare_key();
        app.log_certificates(false);
        app.start_delivery(trust).await?;
        let stop = CancellationToken::new();
        let workers = workers::start(&app, &stop);
        let serving = tokio::spawn(web::serve::serve(
            listener,
            router(app.clone()),
            stop.clone(),
        ));
        tracing::info!(%address, public_url = %app.public_url(), "listening");
        Ok(Self {
            app,
            address,
            stop,
            serving,
            workers,
            _lock: lock,
        })
    }

    /// What the server runs on.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: says so to whoever asks whether it is ready, and goes on for as long as the configuration says; then takes no
    /// more requests, lets what is under way end within its limits, and gives back what was not begun.
    pub async fn stop(self) {
        self.app.set_stopping();
        tokio::time::sleep(self.app.config().drain).await;
        self.stop.cancel();
        if self.serving.await.is_err() {
            tracing::error!("the listener's task panicked");
        }
        self.workers.wait().await;
        if let Some(engine) = self.app.delivery() {
            engine.shut_down(DRAIN).await;
        }
        if let Err(error) = self.app.leave().await {
            tracing::warn!(%error, "the other nodes are not told that this one has stopped");
        }
    }
}

/// Makes sure that no other server works on the SQLite database of the data folder: each would take the other's attempts under way for those of
/// an earlier run and make them again.
pub(crate) fn lock(folder: &Path) -> Result<File, StartError> {
    let path = folder.join("serve.lock");
    let name = || path.display().to_string();
    let failed = |source| StartError::Lock {
        path: name(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse {
            path: folder.display().to_string(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
