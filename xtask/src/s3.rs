//! A server that speaks S3 for the tests: moto, on a port of its own on this machine, with everything in memory.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::setup::Tools;

/// A running server; dropping it stops it.
pub(crate) struct Server {
    process: Child,
    endpoint: String,
}

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) fn start(tools: &Tools) -> Result<Server> {
        let mut process = Command::new("moto_server")
            .args(["--host", "127.0.0.1", "--port", "0"])
            .env("PATH", &tools.path)
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("moto_server does not start")?;
        let output = process.stderr.take().context("moto_server has no output")?;
        let mut lines = BufReader::new(output).lines();
        let found = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, endpoint) = line.split_once("Running on ")?;
            Some(endpoint.trim().to_owned())
        });
        // It goes on to tell of every request, and would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let Some(endpoint) = found else {
            let _ = process.kill();
            anyhow::bail!("moto_server has ended without listening");
        };
        Ok(Server { process, endpoint })
    }

    /// Where the tests find it.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
