//! `sealpost`.
fn main() {}
