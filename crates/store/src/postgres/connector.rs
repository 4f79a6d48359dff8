//! Making connections: to whichever of the hosts serves, and never to a primary that another has replaced.
//!
//! Where a standby is promoted, the old primary may still be there, or come back: it stood still, or was cut off, and does not
//! know. Whoever promotes should keep it from coming back (fencing). We do our part: PostgreSQL begins a new timeline, whose
//! number is higher, with each promotion. So each connection is asked for its timeline, and once this process has seen a newer
//! one of the same cluster, connections to an older one are neither made nor used any more.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use sealpost_tls::{Address, ServerConnection, Tls};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::{Client, Config, SimpleQueryMessage};

use super::{PostgresOptions, Session};
use crate::error::{Error, Result};

/// The cluster that a server is of, and its timeline's number in hexadecimal.
const ASK_TIMELINE: &str = "SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()";

/// What every session has, whatever the role or the database is set to. A transaction that finds a row changed waits and goes on with
/// what is there now: so our statements are written, and from `REPEATABLE READ` on it would fail instead.
const SET_UP: &str = "SET default_transaction_isolation = 'read committed'; SET idle_in_transaction_session_timeout = '60s'";

/// Takes away the limits to how long something takes, as far as the server knows them: the second came with PostgreSQL 17.
const NO_LIMIT: &str = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', 'transaction_timeout')";

/// Has a statement end when its client has gone, which may be before it has anything to tell, so that it holds no lock for nobody.
/// Known from PostgreSQL 14 on; not every system can do it.
const END_WITH_CLIENT: &str = "SELECT set_config(name, '10s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'";

/// Which history of a cluster a server goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timeline {
    cluster: String,
    number: u32,
}

impl Timeline {
    /// Whether a standby with this one's history was promoted to begin `other`.
    fn is_before(&self, other: &Timeline) -> bool {
        self.cluster == other.cluster && self.number < other.number
    }
}

/// Where a connection leads.
#[derive(Debug)]
pub(super) struct Origin {
    /// Its place among the hosts.
    host: usize,
    /// `None`: the server is of a kind that does not say.
    pub(super) timeline: Option<Timeline>,
}

/// The server is a primary that a promoted standby has replaced.
#[derive(Debug, thiserror::Error)]
#[error(
    "this server was the primary before another was promoted, and should not be running as one"
)]
struct Replaced;

/// Makes connections and sessions.
pub(super) struct Connector {
    /// The settings for each host, as the URL names them.
    hosts: Vec<Config>,
    /// Which is asked first: where a connection was made last, and the one after it when answers did not come from there.
    first: AtomicUsize,
    /// The newest timeline that was seen.
    newest: watch::Sender<Option<Timeline>>,
    tls: Tls,
    /// How long connecting to one of several hosts may take.
    connect_timeout: Duration,
    /// How long an answer is waited for.
    patience: Duration,
    /// How long a statement may take.
    statement_timeout: Duration,
    /// See [`Connector::round_trips`].
    round_trips: Arc<AtomicU64>,
}

/// A connection as it comes, for the caller's runtime to drive.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) connection: ServerConnection,
    pub(super) origin: Origin,
}

impl Connector {
    pub(super) fn new(options: &PostgresOptions) -> Result<Connector> {
        let address = Address::parse(&options.url);
        let mut config = Config::from_str(&address.connection)?;
        config.connect_timeout(options.connect_timeout);
        if config.get_application_name().is_none() {
            config.application_name("sealpost");
        }
        // A host that vanishes without a word is noticed in seconds, not hours.
        config.keepalives_idle(Duration::from_secs(10));
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(Duration::from_secs(10));
        }
        config.tcp_user_timeout(options.statement_timeout);
        // Of several hosts all but one are standbys.
        if one_by_one(&config).len() > 1 && !names_session_attrs(&address.connection) {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Connector {
            hosts: one_by_one(&config),
            first: AtomicUsize::new(0),
            newest: watch::Sender::new(None),
            tls: Tls::new(&address, options.ca_file.as_deref())?,
            connect_timeout: options.connect_timeout,
            patience: options.statement_timeout + Duration::from_secs(5),
            statement_timeout: options.statement_timeout,
            round_trips: Arc::default(),
        })
    }

    /// A session, for the thread that asks.
    pub(super) fn connect(&self) -> Result<Session> {
        let session = self.connect_with(self.patience)?;
        session.batch(&format!(
            "{SET_UP}; SET statement_timeout = {}",
            self.statement_timeout.as_millis()
        ))?;
        Ok(session)
    }

    /// A session for statements that may take hours. That the server's machine has vanished is noticed all the same, by the
    /// connection.
    pub(super) fn connect_without_limit(&self) -> Result<Session> {
        let session = self.connect_with(Duration::MAX)?;
        session.batch(&format!("{SET_UP}; {NO_LIMIT}"))?;
        // Where it cannot be, a statement whose client has gone goes on to its end.
        let _ = session.batch(END_WITH_CLIENT);
        Ok(session)
    }

    fn connect_with(&self, patience: Duration) -> Result<Session> {
        let runtime = runtime()?;
        let opened = runtime.block_on(self.open())?;
        let connection = opened.connection;
        runtime.spawn(async move {
            // Its end is noticed by the next statement, which says why.
            let _ = connection.await;
        });
        Ok(Session::new(
            opened.client,
            runtime,
            patience,
            Arc::clone(&self.round_trips),
            opened.origin,
        ))
    }

    /// How often operations have waited for an answer, in all of its sessions.
    pub(super) fn round_trips(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.round_trips)
    }

    /// A connection to the first host that serves.
    pub(super) async fn open(&self) -> Result<Opened> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.hosts.len());
        let mut failure = Error::Stopped;
        for turn in 0..count {
            let host = (first + turn) % count;
            match self.open_in_time(host).await {
                Ok(opened) => {
                    self.first.store(host, Ordering::Relaxed);
                    return Ok(opened);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Asks every host once, so that of two primaries the newer one is known.
    pub(super) fn ask_all(&self) -> Result<()> {
        if self.hosts.len() == 1 {
            return Ok(());
        }
        runtime()?.block_on(async {
            for host in 0..self.hosts.len() {
                // Whether one serves is not asked here.
                let _ = self.open_in_time(host).await;
            }
        });
        Ok(())
    }

    async fn open_in_time(&self, host: usize) -> Result<Opened> {
        // A server that stands still takes connections and says nothing, and must not keep us from the next.
        let limit = match self.hosts.len() {
            1 => self.patience,
            _ => self.connect_timeout,
        };
        match timeout(limit, self.open_at(host)).await {
            Ok(opened) => opened,
            Err(elapsed) => Err(Error::Unreachable(Arc::new(elapsed))),
        }
    }

    async fn open_at(&self, host: usize) -> Result<Opened> {
        let (client, mut connection) = self.hosts[host].connect(self.tls.clone()).await?;
        let asked = tokio::select! {
            asked = client.simple_query(ASK_TIMELINE) => asked,
            // It ends only by failing; then so does what comes next.
            _ = &mut connection => return Err(Error::Stopped),
        };
        let timeline = asked.ok().and_then(|answer| read_timeline(&answer));
        if timeline
            .as_ref()
            .is_some_and(|timeline| !note(&self.newest, timeline))
        {
            return Err(Error::Unreachable(Arc::new(Replaced)));
        }
        Ok(Opened {
            client,
            connection,
            origin: Origin { host, timeline },
        })
    }

    /// Has another host asked first, since from this one an answer did not come: it stands still, or is cut off from its standby,
    /// and another may be the primary by now.
    pub(super) fn avoid(&self, origin: &Origin) {
        let next = (origin.host + 1) % self.hosts.len();
        // Several sessions are lost at once; it is left once.
        let _ =
            self.first
                .compare_exchange(origin.host, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether a newer timeline than this one has been seen.
    pub(super) fn is_replaced(&self, timeline: Option<&Timeline>) -> bool {
        is_replaced(timeline, self.newest.borrow().as_ref())
    }

    /// Waits until a newer timeline than this one is seen.
    pub(super) async fn replaced(&self, timeline: Option<&Timeline>) {
        let mut newest = self.newest.subscribe();
        // The sender is ours, and there.
        let _ = newest
            .wait_for(|newest| is_replaced(timeline, newest.as_ref()))
            .await;
    }
}

fn runtime() -> Result<Runtime> {
    let failed = |error| Error::file("start a runtime for", "PostgreSQL".as_ref(), error);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(failed)
}

/// Remembers a timeline as the newest; `false`: a newer one is known, and stays so, whoever else notes one at the same moment.
fn note(newest: &watch::Sender<Option<Timeline>>, timeline: &Timeline) -> bool {
    let mut good = true;
    newest.send_if_modified(|newest| {
        good = !is_replaced(Some(timeline), newest.as_ref());
        let is_newer = good && newest.as_ref() != Some(timeline);
        if is_newer {
            *newest = Some(timeline.clone());
        }
        is_newer
    });
    good
}

fn is_replaced(timeline: Option<&Timeline>, newest: Option<&Timeline>) -> bool {
    match (timeline, newest) {
        (Some(timeline), Some(newest)) => timeline.is_before(newest),
        _ => false,
    }
}

fn read_timeline(answer: &[SimpleQueryMessage]) -> Option<Timeline> {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })?;
    Some(Timeline {
        cluster: row.get(0)?.to_owned(),
        number: u32::from_str_radix(row.get(1)?, 16).ok()?,
    })
}

/// Whether a connection string, in either form, says which of several servers will do.
fn names_session_attrs(connection: &str) -> bool {
    connection
        .split(|c: char| matches!(c, '?' | '&') || c.is_whitespace())
        .any(|part| part.starts_with("target_session_attrs"))
}

/// The same settings for each of the hosts alone. Where their numbers do not fit together, connecting says so.
fn one_by_one(all: &Config) -> Vec<Config> {
    let (hosts, addresses) = (all.get_hosts(), all.get_hostaddrs());
    let count = hosts.len().max(addresses.len());
    let fits = |length: usize| length <= 1 || length == count;
    if count <= 1 || !(fits(all.get_ports().len()) && fits(hosts.len()) && fits(addresses.len())) {
        return vec![all.clone()];
    }
    (0..count).map(|index| alone(all, index)).collect()
}

fn alone(all: &Config, index: usize) -> Config {
    let mut one = Config::new();
    match all.get_hosts().get(index) {
        Some(Host::Tcp(name)) => one.host(name),
        Some(Host::Unix(path)) => one.host_path(path),
        None => &mut one,
    };
    if let Some(address) = all.get_hostaddrs().get(index) {
        one.hostaddr(*address);
    }
    let ports = all.get_ports();
    if let Some(port) = ports.get(index).or(ports.first()) {
        one.port(*port);
    }
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    if let Some(name) = all.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = all.get_options() {
        one.options(options);
    }
    if let Some(name) = all.get_application_name() {
        one.application_name(name);
    }
    if let Some(limit) = all.get_connect_timeout() {
        one.connect_timeout(*limit);
    }
    if let Some(limit) = all.get_tcp_user_timeout() {
        one.tcp_user_timeout(*limit);
    }
    if let Some(interval) = all.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.keepalives(all.get_keepalives())
        .keepalives_idle(all.get_keepalives_idle())
        .ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .channel_binding(all.get_channel_binding())
        .target_session_attrs(all.get_target_session_attrs())
        .load_balance_hosts(all.get_load_balance_hosts());
    one
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use tokio::sync::watch;
    use tokio_postgres::Config;
    use tokio_postgres::config::TargetSessionAttrs;

    use super::{Connector, Timeline, is_replaced, note, one_by_one};
    use crate::PostgresOptions;

    #[test]
    fn of_several_hosts_one_that_can_be_written_to_is_used() {
        use TargetSessionAttrs::{Any, ReadOnly, ReadWrite};

        for (url, expected) in [
            ("postgres://a@one/c", Any),
            ("postgres://a@one,two/c", ReadWrite),
            ("postgres://a@one,two/c?sslmode=disable", ReadWrite),
            ("postgres://a@one,two/c?target_session_attrs=any", Any),
            (
                "postgres://a@one,two/c?sslmode=disable&target_session_attrs=read-only",
                ReadOnly,
            ),
            ("host=one,two user=a", ReadWrite),
            ("host=one,two user=a target_session_attrs=any", Any),
        ] {
            let connector = Connector::new(&PostgresOptions::new(url)).unwrap();
            for host in &connector.hosts {
                assert_eq!(host.get_target_session_attrs(), expected, "{url}");
            }
        }
    }

    #[test]
    fn each_host_has_its_port_and_all_that_they_have_in_common() {
        let check = |url: &str, expected: &[&str]| {
            let one = |url: &&str| Config::from_str(url).unwrap();
            let expected: Vec<Config> = expected.iter().map(one).collect();
            assert_eq!(one_by_one(&Config::from_str(url).unwrap()), expected);
        };
        check("postgres://a:b@one/c", &["postgres://a:b@one/c"]);
        let all = "connect_timeout=3&tcp_user_timeout=4&keepalives_idle=5&keepalives_interval=6&keepalives_retries=7&options=-cx%3D1\
                   &application_name=d&sslmode=require&channel_binding=disable&target_session_attrs=read-write";
        check(
            &format!("postgres://a:b@one:1,two:2/c?{all}"),
            &[
                &format!("postgres://a:b@one:1/c?{all}"),
                &format!("postgres://a:b@two:2/c?{all}"),
            ],
        );
        check(
            "host=one,/two port=7 user=a",
            &["host=one port=7 user=a", "host=/two port=7 user=a"],
        );
        check(
            "host=one,two port=1,2,3 user=a",
            &["host=one,two port=1,2,3 user=a"],
        );
    }

    #[test]
    fn only_the_same_cluster_is_replaced() {
        let timeline = |cluster: &str, number| {
            Some(Timeline {
                cluster: cluster.into(),
                number,
            })
        };
        let (old, new, other) = (timeline("a", 9), timeline("a", 10), timeline("b", 1));
        let check = |this: &Option<Timeline>, newest: &Option<Timeline>| {
            is_replaced(this.as_ref(), newest.as_ref())
        };
        assert!(check(&old, &new));
        for (this, newest) in [
            (&new, &old),
            (&new, &new),
            (&other, &new),
            (&None, &new),
            (&old, &None),
        ] {
            assert!(!check(this, newest), "{this:?} after {newest:?}");
        }
    }
    #[test]
    fn of_those_who_note_at_once_the_newest_stays() {
        let timeline = |number| Timeline {
            cluster: "a".into(),
            number,
        };
        let newest = watch::Sender::new(None);
        assert!(note(&newest, &timeline(1)) && note(&newest, &timeline(2)));
        assert!(!note(&newest, &timeline(1)));
        assert_eq!(*newest.borrow(), Some(timeline(2)));

        // Each looks at it as it is while it is changed: a reader never sees it go back.
        let mut seen = newest.subscribe();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let newest = &newest;
                scope.spawn(move || {
                    for number in 3..500 {
                        note(newest, &timeline(number + thread % 2 * 20));
                    }
                });
            }
            let mut before = 2;
            while before < 519 {
                let now = seen.borrow_and_update().as_ref().map_or(0, |at| at.number);
                assert!(now >= before, "{before}, then {now}");
                before = now;
            }
        });
    }
}
