//! The processes of a measurement, and what `/proc` says of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::roles::Ledger;
use super::run::role;

/// How long to wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(300);

/// A child with whom lines are exchanged.
pub(crate) struct Talking {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Talking {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("the child's output is piped")?;
        Ok(Self {
            child,
            lines: BufReader::new(out).lines(),
        })
    }

    pub(crate) fn line(&mut self) -> Result<String> {
        Ok(self
            .lines
            .next()
            .context("the child ended without a word")??)
    }

    /// Says a line to it, and hears its answer.
    pub(crate) fn ask(&mut self, line: &str) -> Result<String> {
        let input = self.child.stdin.as_mut();
        let input = input.context("the child's input is piped")?;
        input.write_all(format!("{line}\n").as_bytes())?;
        self.line()
    }

    pub(crate) fn cpu(&self) -> Result<f64> {
        cpu(self.child.id())
    }

    /// Closes its input and waits for its end.
    pub(crate) fn end(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "a child failed: {status}");
        Ok(())
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Receiver {
    talking: Talking,
    ports: Vec<String>,
    ledger: PathBuf,
}

impl Receiver {
    pub(crate) fn start(folder: &Path, endpoints: usize, hanging: usize) -> Result<Self> {
        let ledger = folder.join("arrived");
        let mut command = role(&[
            "receive",
            "--endpoints",
            &endpoints.to_string(),
            "--hanging",
            &hanging.to_string(),
        ]);
        command.arg("--ledger").arg(&ledger);
        let mut talking = Talking::start(&mut command)?;
        let ports = talking.line()?.split(' ').map(str::to_owned).collect();
        Ok(Self {
            talking,
            ports,
            ledger,
        })
    }

    pub(crate) fn url(&self, place: usize) -> String {
        format!("http://127.0.0.1:{}/callback", self.ports[place])
    }

    pub(crate) fn cpu(&self) -> Result<f64> {
        self.talking.cpu()
    }

    pub(crate) fn came(&mut self) -> Result<u64> {
        Ok(self.talking.ask("?")?.parse()?)
    }

    /// Waits until so many callbacks have come.
    pub(crate) fn until(&mut self, callbacks: u64) -> Result<()> {
        let began = Instant::now();
        loop {
            let came = self.came()?;
            if came >= callbacks {
                return Ok(());
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "only {came} of {callbacks} have come"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn end(mut self) -> Result<Ledger> {
        self.talking.end()?;
        Ledger::read(&self.ledger)
    }
}

pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "serve"])
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take().context("the server's log is piped")?;
        let mut lines = BufReader::new(log).lines();
        let address = loop {
            let line = lines
                .next()
                .context("the server ended before it listened")??;
            let Ok(line) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if let Some(address) = line["address"]
                .as_str()
                .or(line["fields"]["address"].as_str())
            {
                break address.to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address })
    }

    /// With that of the processes that rendered pages for it.
    pub(crate) fn cpu(&self) -> Result<f64> {
        family_cpu(self.child.id())
    }

    /// In MB.
    pub(crate) fn peak_memory(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .context("no VmHWM")?;
        let kib: f64 = line
            .split_whitespace()
            .nth(1)
            .context("no number")?
            .parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    pub(crate) fn end(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU seconds that a process has used. Linux counts hundredths.
pub(crate) fn cpu(id: u32) -> Result<f64> {
    ticks(&format!("/proc/{id}/stat"), 11)
}

/// CPU seconds that our children have used that have ended.
pub(crate) fn children_cpu() -> Result<f64> {
    ticks("/proc/self/stat", 13)
}

/// CPU seconds that a process and its children have used, those that have ended and those that run.
pub(crate) fn family_cpu(parent: u32) -> Result<f64> {
    let stat = format!("/proc/{parent}/stat");
    let mut all = ticks(&stat, 11)? + ticks(&stat, 13)?;
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    for child in children.split_whitespace() {
        // One that has ended meanwhile is counted with the parent next time.
        all += ticks(&format!("/proc/{child}/stat"), 11).unwrap_or(0.0);
    }
    Ok(all)
}

/// Tells every child of ours to stop, for when we must go at once.
pub(crate) fn end_children() {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return;
    };
    for thread in threads.flatten() {
        let children = std::fs::read_to_string(thread.path().join("children"));
        for child in children.unwrap_or_default().split_whitespace() {
            // It may have ended by itself.
            let _ = Command::new("kill").args(["-TERM", child]).status();
        }
    }
}

fn ticks(path: &str, place: usize) -> Result<f64> {
    let stat = std::fs::read_to_string(path)?;
    // The second field, the name, may hold anything; what follows its parenthesis is plain.
    let (_, fields) = stat.rsplit_once(") ").context("a stat line has a name")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let user: f64 = fields[place].parse()?;
    let system: f64 = fields[place + 1].parse()?;
    Ok((user + system) / 100.0)
}
