//! A network of namespaces: each place has one of its own, and the test's own namespace passes packets between them, or loses
//! them without a word: no refusal, no reset, no answer, as behind a switch that is broken.
//!
//! The test's process must be in a namespace of its own for this (see [`again_inside`]), so that nothing of it is reachable from
//! outside, and nothing of the machine's own network is changed.

use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};

use crate::postgresql::succeeds;

/// Where the test says to itself that it is inside.
const INSIDE: &str = "TEST_IS_IN_A_NAMESPACE";

/// A place in the network.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    namespace: String,
    pub(crate) address: Ipv4Addr,
}

impl Place {
    /// Where the test itself is.
    pub(super) fn of_test() -> Place {
        Place {
            namespace: String::new(),
            address: Network::TEST,
        }
    }

    /// The same command, to be run there.
    pub(crate) fn within(&self, command: &Command) -> Command {
        let mut within = ip(&["netns", "exec", &self.namespace]);
        within.arg(command.get_program()).args(command.get_args());
        let variables = command.get_envs();
        within.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            within.current_dir(folder);
        }
        within
    }
}

/// Places and what is between them. They are gone when this goes.
pub(super) struct Network {
    places: Vec<(&'static str, Place)>,
}

impl Network {
    /// Every address in it.
    pub(super) const RANGE: &str = "10.89.0.0/16";
    /// Where the test listens.
    pub(super) const TEST: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 1);

    /// Makes these places, in a namespace that [`again_inside`] has made for the test.
    pub(super) fn make(names: &[&'static str]) -> Network {
        forget_the_dead();
        run(&["link", "set", "lo", "up"]);
        run(&[
            "address",
            "add",
            &format!("{}/32", Network::TEST),
            "dev",
            "lo",
        ]);
        write("ip_forward", "1");
        // Whether a packet is passed on is asked before whether it is for this namespace.
        run(&["rule", "add", "pref", "1000", "lookup", "local"]);
        run(&["rule", "delete", "pref", "0"]);
        // A way may be cut in one direction alone.
        for of in ["all", "default"] {
            write(&format!("conf/{of}/rp_filter"), "0");
        }
        let mut network = Network { places: Vec::new() };
        for (number, name) in (1..).zip(names) {
            let place = Place {
                namespace: format!("sealpost-{}-{name}", std::process::id()),
                address: Ipv4Addr::new(10, 89, number, 2),
            };
            let (there, here) = (&place.namespace, format!("to-{name}"));
            run(&["netns", "add", there]);
            // From here on it is removed whatever happens.
            network.places.push((name, place.clone()));
            run(&[
                "link", "add", &here, "type", "veth", "peer", "name", "out", "netns", there,
            ]);
            let gate = Ipv4Addr::new(10, 89, number, 1).to_string();
            run(&["address", "add", &format!("{gate}/30"), "dev", &here]);
            run(&["link", "set", &here, "up"]);
            let address = format!("{}/30", place.address);
            run(&["-n", there, "address", "add", &address, "dev", "out"]);
            run(&["-n", there, "link", "set", "out", "up"]);
            run(&["-n", there, "link", "set", "lo", "up"]);
            run(&["-n", there, "route", "add", "default", "via", &gate]);
        }
        network
    }

    pub(super) fn place(&self, name: &str) -> Place {
        let found = self.places.iter().find(|(known, _)| *known == name);
        found.unwrap().1.clone()
    }

    /// Loses every packet of `from` to `to`, of connections that are there as well.
    pub(super) fn cut(&self, from: &Place, to: &Place) {
        let (from, to) = (from.address.to_string(), to.address.to_string());
        run(&[
            "rule",
            "add",
            "pref",
            "10",
            "from",
            &from,
            "to",
            &to,
            "blackhole",
        ]);
    }

    /// Loses no packets any more.
    pub(super) fn heal(&self) {
        // One goes with each; when there is none left, it fails.
        while ip(&["rule", "delete", "pref", "10"])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
        {}
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (_, place) in &self.places {
            let _ = ip(&["netns", "delete", &place.namespace]).status();
        }
    }
}

/// Runs the test of this name once more, in a network namespace of its own, unless it is that run already. `Err`: why it cannot.
pub(super) fn again_inside(test: &str) -> Result<Option<Output>, String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    is_permitted()?;
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output();
    Ok(Some(output.unwrap()))
}

/// Whether this process may make namespaces and what is in them; `Err`: what is missing.
fn is_permitted() -> Result<(), String> {
    // All that is used, in a namespace that ends with this.
    const TRY: &str = "ip link add sealpost-try type veth peer name sealpost-end && ip rule add pref 10 from 10.89.0.1 blackhole";
    let name = format!("sealpost-{}-try", std::process::id());
    let tries: [&[&str]; 3] = [
        &["ip", "netns", "add", &name],
        &["ip", "netns", "delete", &name],
        &["unshare", "--net", "sh", "-c", TRY],
    ];
    for command in tries {
        let tried = Command::new(command[0]).args(&command[1..]).output();
        let tried = tried.map_err(|error| format!("{} does not start: {error}", command[0]))?;
        if !tried.status.success() {
            let said = String::from_utf8_lossy(&tried.stderr);
            return Err(format!("`{}`: {}", command.join(" "), said.trim()));
        }
    }
    Ok(())
}

/// Removes what tests have left that were killed.
fn forget_the_dead() {
    let listed = ip(&["netns", "list"]).stdout(Stdio::piped()).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    for name in listed.lines().filter_map(|line| line.split(' ').next()) {
        let process = name
            .strip_prefix("sealpost-")
            .and_then(|rest| rest.split('-').next());
        let is_dead = process.is_some_and(|process| {
            let there = std::path::Path::new("/proc").join(process);
            process.parse::<u32>().is_ok() && !there.exists()
        });
        if is_dead {
            let _ = ip(&["netns", "delete", name]).status();
        }
    }
}

fn write(setting: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/ipv4/{setting}"), value).unwrap();
}

fn ip(arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) {
    succeeds(&mut ip(arguments));
}
