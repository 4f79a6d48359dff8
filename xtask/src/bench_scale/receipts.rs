//! Receipts from the channel's request to the acknowledged callback: one measurement over so many nodes, and the yardstick, which
//! is the paper of a receipt alone on one core.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sealpost_pdf::{
    Authority, KeyAlgorithm, RoundSeal, SignRequest, Subject, Trust, Verdict, add_fields, draw,
    sign, signature, verify,
};
use serde_json::{Value, json};

use super::parties::drawn;
use crate::bench_delivery::processes::Talking;
use crate::bench_delivery::run::{World, addresses, cpu_of};
use crate::bench_pdf::{NOW, Sample, VALIDITY, fields, processor_time};

/// Receipts under way at one moment: enough to keep every core at work, few enough that none waits for long.
const AT_ONCE: u64 = 32;

/// What one run is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) nodes: usize,
    pub(super) receipts: u64,
    /// Whether each buyer opens the page and sees the receipt.
    pub(super) looks: bool,
}

/// What one run showed.
#[derive(Debug, Clone)]
pub(super) struct Completed {
    /// From the first request to the last callback.
    pub(super) per_second: f64,
    /// From a receipt's request to its callback, milliseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// CPU milliseconds for each receipt: of all servers, of PostgreSQL, and of the channel and the buyers.
    pub(super) server_cpu: f64,
    pub(super) database_cpu: f64,
    pub(super) other_cpu: f64,
    /// How many there were, and how many ended completed, once.
    pub(super) receipts: u64,
    pub(super) completed: u64,
    /// Callbacks that never came, and that came again.
    pub(super) lost: u64,
    pub(super) again: u64,
    /// Receipts that are not completed once, whose file is not what the API says, or whose signatures are not valid.
    pub(super) wrong: u64,
}

pub(super) fn measure(world: &World, scene: Scene) -> Result<Completed> {
    let place = world.place()?;
    let mut parties = Talking::start(&mut super::parties())?;
    let callback_url = format!("http://{}/callback", parties.line()?);
    let channel = world.add_channel(&place, "channel", &callback_url)?;
    let key = channel["api_key"]
        .as_str()
        .context("a channel has an API key")?;
    let servers = world.nodes(&place, scene.nodes)?;
    let addresses = addresses(&servers);
    let order = |what: &str, first: u64, receipts: u64| {
        json!({
            "do": what, "servers": addresses, "key": key, "first": first, "receipts": receipts,
            "at_once": AT_ONCE, "looks": scene.looks,
        })
    };
    let ask = |parties: &mut Talking, order: Value| -> Result<Value> {
        Ok(serde_json::from_str(&parties.ask(&order.to_string())?)?)
    };

    // The seller's key is made with the first, and connections, statements and caches are warm after some.
    let warm = (scene.receipts / 10).clamp(16, 100);
    ask(&mut parties, order("work", 1_000_000, warm))?;
    let before = (cpu_of(&servers)?, world.database_cpu()?, parties.cpu()?);
    let worked = ask(&mut parties, order("work", 0, scene.receipts))?;
    let after = (cpu_of(&servers)?, world.database_cpu()?, parties.cpu()?);
    let number = |value: &Value, name: &str| value[name].as_f64().unwrap_or_default();
    let checked = ask(&mut parties, order("check", 0, scene.receipts))?;
    for server in servers {
        server.end()?;
    }
    parties.end()?;

    let wrong: Vec<&str> = checked["wrong"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if let Some(first) = wrong.first() {
        eprintln!(
            "{} receipts are not as they should be, {first} the first",
            wrong.len()
        );
    }
    let count = |name: &str| checked[name].as_u64().unwrap_or_default();
    let each = 1000.0 / scene.receipts as f64;
    Ok(Completed {
        per_second: number(&worked, "told") / number(&worked, "seconds"),
        p50: number(&worked, "p50"),
        p99: number(&worked, "p99"),
        server_cpu: (after.0 - before.0) * each,
        database_cpu: (after.1 - before.1) * each,
        other_cpu: (after.2 - before.2) * each,
        receipts: scene.receipts,
        completed: count("completed"),
        lost: count("lost"),
        again: count("again"),
        wrong: wrong.len() as u64,
    })
}

/// The paper of a receipt, all that the server does of it and nothing else, again and again on one thread: how many a second of
/// its processor time. Drawn, its fields added, its seal drawn for the check and for the paper, sealed with RSA-2048, the buyer's
/// drawing read, a P-256 key certified for the buyer, signed, verified.
pub(super) fn paper(time: Duration) -> Result<f64> {
    let Sample {
        receipt,
        signers,
        meta,
    } = Sample::read()?;
    let seal = RoundSeal {
        organization: receipt.payee.clone(),
        legend: Some("财务专用章".to_owned()),
    };
    let authority = Authority::generate("bench", KeyAlgorithm::P256, VALIDITY)?;
    let organization = Subject::Organization {
        name: &receipt.payee,
        credit_code: None,
    };
    let seller = authority.issue(organization, KeyAlgorithm::Rsa2048, VALIDITY)?;
    let trust = Trust::roots([authority.certificate().to_vec()]);
    let once = |number: u64| -> Result<()> {
        let drawing = drawn(number);
        seal.draw()?;
        let paper = draw(&receipt, &signers, &meta)?;
        let paper = add_fields(&paper.pdf, &fields(&paper.places))?;
        let seal = seal.draw()?;
        let request = SignRequest {
            field: "signer1",
            appearance: Some(&seal),
            credential: &seller,
            signing_time: NOW,
            zone_minutes: 480,
            reason: None,
            location: None,
            name: None,
        };
        let sealed = sign(&paper, &request)?;
        let person = Subject::Person {
            name: &receipt.payer.name,
            flow: &meta.flow_id,
        };
        let buyer = authority.issue(person, KeyAlgorithm::P256, VALIDITY)?;
        let hand = signature::appearance(&drawing)?;
        let signed = sign(
            &sealed,
            &SignRequest {
                field: "signer2",
                appearance: Some(&hand),
                credential: &buyer,
                ..request
            },
        )?;
        let report = verify(&signed, &trust, NOW)?;
        ensure!(
            report.verdict == Verdict::Valid,
            "the signatures must be valid"
        );
        Ok(())
    };
    once(0)?;
    let (began, used) = (Instant::now(), processor_time());
    let mut count = 0;
    while began.elapsed() < time {
        count += 1;
        once(count)?;
    }
    Ok(count as f64 / (processor_time() - used).as_secs_f64())
}
