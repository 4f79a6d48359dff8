//! The HTTP frame around every handler: reading bodies and fields, naming and logging requests, serving connections.

pub(crate) mod body;
pub(crate) mod fields;
pub(crate) mod frame;
mod once;
pub(crate) mod origin;
pub(crate) mod partial;
pub(crate) mod serve;

pub(crate) use body::{Json, Query};
pub(crate) use fields::Fields;
