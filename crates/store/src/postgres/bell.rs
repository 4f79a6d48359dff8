//! How nodes wake each other: one connection of each node listens, and rings when this node has left something for others.
//!
//! PostgreSQL lets the commits of transactions that notify pass one by one, so no transaction of ours notifies. Whoever has
//! committed something that another node may take rings here, and however often that is, the others are told once in each
//! [`INTERVAL`]. It is a hint and nothing more: what is lost with a connection is found by polling.

use std::future::poll_fn;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::AsyncMessage;

use super::connector::Connector;
use crate::error::Result;

/// The shortest time between two notifications of one node.
const INTERVAL: Duration = Duration::from_millis(50);

/// The wait before connecting again.
const RECONNECT: Duration = Duration::from_millis(500);

/// How long a notification may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rings and hears. Its thread and connection are made when they are first needed, and end with it.
pub(crate) struct Bell {
    connector: Arc<Connector>,
    heard: Arc<watch::Sender<u64>>,
    thread: Mutex<Option<Thread>>,
}

struct Thread {
    /// Room for one: who finds it taken is told of by the same notification.
    rings: mpsc::Sender<()>,
    handle: JoinHandle<()>,
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}

impl Bell {
    pub(super) fn new(connector: Arc<Connector>) -> Bell {
        Bell {
            connector,
            heard: Arc::new(watch::Sender::new(0)),
            thread: Mutex::default(),
        }
    }

    /// Tells the other nodes, soon.
    pub(crate) fn ring(&self) {
        self.with_rings(|rings| {
            // Full: the notification that is to come tells of this, too.
            let _ = rings.try_send(());
        });
    }

    /// Changes when another node has rung, and when one may have rung unheard.
    pub(crate) fn heard(&self) -> watch::Receiver<u64> {
        self.with_rings(|_| ());
        self.heard.subscribe()
    }

    fn with_rings(&self, then: impl FnOnce(&mpsc::Sender<()>)) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            // Without a thread nobody is told, and polling finds it.
            *thread = self.start().ok();
        }
        if let Some(thread) = thread.as_ref() {
            then(&thread.rings);
        }
    }

    fn start(&self) -> std::io::Result<Thread> {
        let (rings, rung) = mpsc::channel(1);
        let (connector, heard) = (Arc::clone(&self.connector), Arc::clone(&self.heard));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = std::thread::Builder::new()
            .name("sealpost-bell".into())
            .spawn(move || runtime.block_on(run(&connector, rung, &heard)))?;
        Ok(Thread { rings, handle })
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Thread { rings, handle }) = thread {
            // It tells of what was rung last, and ends.
            drop(rings);
            // Its panic was already reported on stderr.
            let _ = handle.join();
        }
    }
}

/// Connects, and connects again, until the bell is dropped.
async fn run(connector: &Connector, mut rung: mpsc::Receiver<()>, heard: &Arc<watch::Sender<u64>>) {
    // What was rung while there was no connection is told of with the first.
    let mut untold = false;
    while session(connector, &mut rung, heard, &mut untold)
        .await
        .is_err()
    {
        if rung.is_closed() {
            return;
        }
        sleep(RECONNECT).await;
    }
}

/// Listens and notifies over one connection. `Ok`: the bell was dropped.
async fn session(
    connector: &Connector,
    rung: &mut mpsc::Receiver<()>,
    heard: &Arc<watch::Sender<u64>>,
    untold: &mut bool,
) -> Result<()> {
    let opened = connector.open().await?;
    let (client, mut connection) = (opened.client, opened.connection);
    let own = Arc::new(AtomicI32::new(0));
    let (heard_here, own_here) = (Arc::clone(heard), Arc::clone(&own));
    let mut listening = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message
                && notification.process_id() != own_here.load(Ordering::Relaxed)
            {
                heard_here.send_modify(|count| *count += 1);
            }
        }
    });
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await?;
    own.store(row.get(0), Ordering::Relaxed);
    client.batch_execute("LISTEN sealpost").await?;
    // Others may have rung before.
    heard.send_modify(|count| *count += 1);
    let mut next = Instant::now();
    loop {
        if *untold {
            sleep_until(next).await;
            match timeout(PATIENCE, client.batch_execute("NOTIFY sealpost")).await {
                Ok(told) => told?,
                Err(_) => return Err(crate::Error::Stopped),
            }
            *untold = false;
            next = Instant::now() + INTERVAL;
        }
        tokio::select! {
            ring = rung.recv() => match ring {
                Some(()) => *untold = true,
                None => return Ok(()),
            },
            _ = &mut listening => return Err(crate::Error::Stopped),
            // Nobody rings there any more.
            () = connector.replaced(opened.origin.timeline.as_ref()) => return Err(crate::Error::Stopped),
        }
    }
}
