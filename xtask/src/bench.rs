//! `cargo xtask bench NAME`: dispatches to a bench of its own file.
//!
//! The benches link the product's crates, so they are compiled only with the feature `bench` and always in
//! release mode: this command starts itself again that way.

use anyhow::Result;

/// The benches there are.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Name {
    /// Callbacks per second, latency, CPU and memory of the delivery engine, end to end.
    Delivery,
    /// Drawing, signing, verifying and rendering a receipt, per core.
    Pdf,
    /// What a callback costs PostgreSQL as its tables grow to ten million rows.
    Scale,
}

#[cfg(not(feature = "bench"))]
pub(crate) fn run(name: Name, args: &[String]) -> Result<()> {
    use clap::ValueEnum as _;
    let name = name.to_possible_value();
    let mut again = crate::cargo();
    again
        .args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "xtask",
        ])
        .args(["--features", "bench", "--", "bench"])
        .args(name.iter().map(|value| value.get_name()))
        .args(args);
    crate::run(&mut again)
}

#[cfg(feature = "bench")]
pub(crate) fn run(name: Name, args: &[String]) -> Result<()> {
    match name {
        Name::Delivery => crate::bench_delivery::run(args),
        Name::Pdf => crate::bench_pdf::run(args),
        Name::Scale => crate::bench_scale::run(args),
    }
}
