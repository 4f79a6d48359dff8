//! `cargo xtask test`: every test of the workspace, with the tools that they call on the `PATH`.

use anyhow::Result;

use crate::{cargo, setup};

pub(crate) fn run(args: &[String]) -> Result<()> {
    let tools = setup::tools()?;
    let mut test = cargo();
    test.args(["test", "--locked", "--no-fail-fast"])
        .env("PATH", &tools.path);
    match args {
        [] => test.arg("--workspace"),
        args => test.args(args),
    };
    crate::run(&mut test)
}
