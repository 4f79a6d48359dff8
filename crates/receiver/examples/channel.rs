//! A channel's receiver in Rust:
//!
//! ```sh
//! cargo run -p sealpost-receiver --example channel -- callbacks.db
//! ```
//!
//! With WEBHOOK_SECRET set, only signed callbacks are accepted; two secrets, separated by a space, while one is rotated.

use sealpost_receiver::{Callback, HandlerError, Receiver, SqliteInbox, handler_fn};

#[tokio::main]
async fn main() -> Result<(), HandlerError> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "callbacks.db".to_owned());

    let mut receiver = Receiver::new(SqliteInbox::open(path)?, handler_fn(handle));
    if let Ok(secrets) = std::env::var("WEBHOOK_SECRET") {
        let secrets = secrets
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        receiver = receiver.require_signature(secrets);
    }
    // Handles what a crash has left, and what failed.
    tokio::spawn(receiver.clone().work(std::future::pending()));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8090").await?;
    println!("listening on http://{}/callback", listener.local_addr()?);
    axum::serve(listener, receiver.router("/callback")).await?;
    Ok(())
}

/// Yours to fill in.
async fn handle(callback: Callback) -> Result<(), HandlerError> {
    println!(
        "{} ended as {}",
        callback.sign_flow_id,
        callback.sign_flow_status.english()
    );
    Ok(())
}
