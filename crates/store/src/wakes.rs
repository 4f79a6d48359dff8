//! Waking: the nodes over one PostgreSQL database tell each other that there is something to take.

use tokio::sync::watch;

use crate::Store;
use crate::database::Database;

/// Hears when another node has left something to deliver, to seal or to look at. A hint: whoever relies on it polls, too.
#[derive(Debug)]
pub struct Wakes(Option<watch::Receiver<u64>>);

impl Wakes {
    /// Waits until another node has something, or may have had it unheard. Never ends over SQLite.
    pub async fn woken(&mut self) {
        if let Some(heard) = &mut self.0
            && heard.changed().await.is_ok()
        {
            return;
        }
        self.0 = None;
        std::future::pending().await
    }
}

impl Store {
    /// What other nodes tell from now on.
    pub fn wakes(&self) -> Wakes {
        Wakes(match &*self.database {
            Database::Sqlite(_) => None,
            Database::Postgres(postgres) => Some(postgres.bell().heard()),
        })
    }

    /// Tells other nodes that there is something to take. To be called after the commit.
    pub(crate) fn wake_others(&self) {
        if let Database::Postgres(postgres) = &*self.database {
            postgres.bell().ring();
        }
    }
}
