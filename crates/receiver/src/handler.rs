//! What a channel does with a callback.

use std::future::Future;

use sealpost_contract::Callback;

/// Any error a handler gives; it is logged and kept in the inbox as text, and the handler runs again later.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// What a channel does with a callback. See the crate's documentation for how often it runs.
pub trait Handler: Send + Sync + 'static {
    /// Does it. The future is dropped when it takes longer than the receiver allows.
    ///
    /// # Errors
    /// Whatever makes the handler want to be run again.
    fn handle(&self, callback: Callback) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// The handler that does nothing: for a channel that only wants callbacks kept.
impl Handler for () {
    async fn handle(&self, _: Callback) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// Makes a handler of an async function or closure.
pub fn handler_fn<F, R>(function: F) -> impl Handler
where
    F: Fn(Callback) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send,
{
    HandlerFn(function)
}

struct HandlerFn<F>(F);

impl<F, R> Handler for HandlerFn<F>
where
    F: Fn(Callback) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send,
{
    fn handle(&self, callback: Callback) -> impl Future<Output = Result<(), HandlerError>> + Send {
        (self.0)(callback)
    }
}
