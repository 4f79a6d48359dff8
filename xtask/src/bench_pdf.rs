//! `cargo xtask bench pdf`.

use anyhow::{Result, bail};

pub(crate) fn run(_args: &[String]) -> Result<()> {
    bail!("nothing is measured yet")
}
