//! For channel participants (渠道参与方): receive the callbacks of sign flows without losing one.
//!
//! A [`Receiver`] is a tower service (and, with the feature `axum`, a route) around one [`Handler`] and one
//! [`Inbox`]. Each POST goes through the same steps, and the answer is always one of the contract's:
//!
//! 1. **checked**: size, content type, signature (if secrets are given), strict JSON, the four members;
//! 2. **kept**: written to the inbox, durable before anything else happens. The flow's id is the key: the same
//!    callback again is recognised, another end for the same flow is refused with 409;
//! 3. **handled**: the handler runs, for one copy at a time, and its success is recorded;
//! 4. **answered**: `000`.
//!
//! # What "once" means, precisely
//! - A callback that was answered `000` is in the inbox. It stays there through a crash or a power cut (with
//!   [`SqliteInbox`] and `PostgresInbox`; [`MemoryInbox`] is for tests).
//! - The handler never runs for two copies at the same moment, in one process or in several over one inbox, and
//!   never again once its success is recorded: a process that dies between *handled* and *answered* answers the
//!   next copy `000` without running it.
//! - No receiver can know whether a process died just before or just after the handler's own effect took place.
//!   If it dies between that and the record (or the record cannot be written), the handler runs again. Two ways to close even this gap: make the
//!   effect idempotent on the flow's id, or put it in the transaction that keeps the callback, with
//!   [`SqliteInbox::with_effect`]: then kept, handled and recorded are one commit, and *once* has no exception.
//! - A handler that fails is answered `500`, so that the platform sends the callback again. The platform stops
//!   after four attempts; what is kept does not: [`Receiver::work`] goes on trying, and after a restart as well.
//!
//! With [`Receiver::answer_once_kept`] steps 3 and 4 change places: answered as soon as it is kept, handled
//! afterwards by [`Receiver::work`]. It is the better choice for handlers that take long or call others.
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "sqlite"))]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use sealpost_receiver::{Callback, Receiver, SqliteInbox, handler_fn};
//!
//! let inbox = SqliteInbox::open("callbacks.db")?;
//! let receiver = Receiver::new(inbox, handler_fn(|callback: Callback| async move {
//!     println!("{} ended as {}", callback.sign_flow_id, callback.sign_flow_status.english());
//!     Ok(())
//! }))
//! .require_signature(vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?]);
//!
//! tokio::spawn(receiver.clone().work(std::future::pending()));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8090").await?;
//! axum::serve(listener, receiver.router("/callback")).await?;
//! # Ok(())
//! # }
//! ```

mod checks;
mod error;
mod handler;
mod inbox;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod receiver;
mod service;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use checks::{Checks, Refused};
pub use error::Error;
pub use handler::{Handler, HandlerError, handler_fn};
pub use inbox::{Claim, Entry, Inbox, Kept, Outcome, State};
pub use memory::MemoryInbox;
#[cfg(feature = "postgres")]
pub use postgres::PostgresInbox;
pub use receiver::{Exchange, Receiver, Verdict};
pub use service::Body;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteInbox;

pub use sealpost_contract::{self as contract, Callback};
