//! Who stands around the servers in a measurement of receipts: the channel that wants them and is told of their ends, and the
//! buyers who sign. One process on one thread, which speaks just as much HTTP as it takes.
//!
//! It takes orders as lines of JSON on standard input and answers each with one: `work` makes receipts and has them signed, as many
//! at once as told, each until its callback has come; `check` then looks at every one of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::bench_delivery::roles::{ACKNOWLEDGED, Peer, now, say};
use crate::bench_delivery::run::quantile;

/// Who seals every receipt.
const SELLER: &str = "杭州翡翠湾房地产开发有限公司";

/// What a buyer draws; see [`drawn`].
const SIGNATURE: &[u8] = include_bytes!("../../../crates/server/src/demo/signature.png");

/// How long a receipt may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time between two tries of a buyer whose turn has not come.
const PAUSE: Duration = Duration::from_millis(20);

/// What one channel has been told of one flow.
#[derive(Debug)]
struct Told {
    status: String,
    times: u64,
}

/// The channel's side of all flows.
#[derive(Debug, Default)]
struct Channel {
    told: HashMap<String, Told>,
    /// Who waits to hear of a flow.
    waiting: HashMap<String, oneshot::Sender<u64>>,
}

/// One receipt that went all the way.
#[derive(Debug, Clone)]
struct Receipt {
    flow: String,
    began: u64,
    /// When its callback came; `None`: it never did.
    told: Option<u64>,
}

/// One order.
struct Order {
    servers: Vec<String>,
    key: String,
    /// Number of the first receipt, and how many.
    first: u64,
    receipts: u64,
    at_once: u64,
    /// Whether each buyer opens the page and sees the receipt, as a telephone shows it.
    looks: bool,
}

pub(super) fn play() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let channel = Arc::new(Mutex::new(Channel::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        say(&listener.local_addr()?.to_string())?;
        tokio::spawn(listen(listener, Arc::clone(&channel)));
        let (orders, mut ordered) = tokio::sync::mpsc::unbounded_channel();
        tokio::task::spawn_blocking(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if orders.send(line).is_err() {
                    return;
                }
            }
        });
        let mut receipts = Vec::new();
        while let Some(line) = ordered.recv().await {
            let value: Value = serde_json::from_str(&line)?;
            let order = Order::read(&value)?;
            let answer = match value["do"].as_str() {
                Some("work") => {
                    receipts = work(&Arc::new(order), &channel).await?;
                    worked(&receipts)
                }
                Some("check") => check(&order, &receipts, &channel).await?,
                _ => bail!("an order that is none: {line}"),
            };
            say(&answer.to_string())?;
        }
        Ok(())
    })
}

impl Order {
    fn read(value: &Value) -> Result<Self> {
        let number = |name: &str| value[name].as_u64().unwrap_or_default();
        let servers = value["servers"]
            .as_array()
            .context("an order names servers")?;
        let servers: Vec<String> = servers
            .iter()
            .filter_map(|server| Some(server.as_str()?.to_owned()))
            .collect();
        ensure!(!servers.is_empty(), "an order names servers");
        Ok(Self {
            servers,
            key: value["key"].as_str().unwrap_or_default().to_owned(),
            first: number("first"),
            receipts: number("receipts"),
            at_once: number("at_once"),
            looks: value["looks"].as_bool().unwrap_or_default(),
        })
    }
}

fn lock(channel: &Mutex<Channel>) -> MutexGuard<'_, Channel> {
    channel.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The channel's endpoint: notes every callback and acknowledges it.
async fn listen(listener: TcpListener, channel: Arc<Mutex<Channel>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let channel = Arc::clone(&channel);
        tokio::spawn(async move {
            let mut peer = Peer::new(stream);
            while let Some((_, body)) = peer.read().await {
                let body: Value = serde_json::from_slice(body).unwrap_or_default();
                let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
                let (flow, at) = (text("sign_flow_id"), now());
                {
                    let mut channel = lock(&channel);
                    let told = channel.told.entry(flow.clone()).or_insert_with(|| Told {
                        status: text("sign_flow_status"),
                        times: 0,
                    });
                    told.times += 1;
                    if let Some(waiting) = channel.waiting.remove(&flow) {
                        // Whoever has waited too long has gone.
                        let _ = waiting.send(at);
                    }
                }
                if peer.write(ACKNOWLEDGED).await.is_none() {
                    break;
                }
            }
        });
    }
}

async fn work(order: &Arc<Order>, channel: &Arc<Mutex<Channel>>) -> Result<Vec<Receipt>> {
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..order.at_once {
        let (order, channel, next) = (Arc::clone(order), Arc::clone(channel), Arc::clone(&next));
        workers.spawn(async move {
            let mut calls = Calls::new(&order);
            let mut receipts = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= order.receipts {
                    return anyhow::Ok(receipts);
                }
                let number = order.first + place;
                receipts.push(one(&mut calls, &order, &channel, number).await?);
            }
        });
    }
    let mut receipts = Vec::new();
    while let Some(done) = workers.join_next().await {
        receipts.extend(done??);
    }
    Ok(receipts)
}

/// One receipt from the channel's request to the callback. The buyer comes to another node than the channel where there are several.
async fn one(
    calls: &mut Calls,
    order: &Order,
    channel: &Mutex<Channel>,
    number: u64,
) -> Result<Receipt> {
    let began = now();
    let nodes = order.servers.len() as u64;
    let at_node = usize::try_from(number % nodes)?;
    let wanted = receipt(number).to_string();
    let (status, body) = calls.post(at_node, "/v1/sign-flows", &wanted).await?;
    ensure!(
        status == 201,
        "{status}: {}",
        String::from_utf8_lossy(&body)
    );
    let made: Value = serde_json::from_slice(&body)?;
    let flow = made["sign_flow_id"].as_str().context("no sign_flow_id")?;
    let (answer, waiting) = oneshot::channel();
    lock(channel).waiting.insert(flow.to_owned(), answer);

    let link = made["signers"][1]["sign_url"].as_str();
    let (_, token) = link
        .and_then(|link| link.rsplit_once("/s/"))
        .context("no sign_url")?;
    let at_node = usize::try_from((number + 1) % nodes)?;
    if order.looks {
        for path in ["", "/pages/1.png?width=400", "/pages/1.png?width=800"] {
            let (status, _) = calls.get(at_node, &format!("/s/{token}{path}")).await?;
            ensure!(status == 200, "the page answers {status}");
        }
    }
    let signature = STANDARD.encode(drawn(number));
    let signed = json!({ "signature_png_base64": signature, "consent": "zh-CN" }).to_string();
    let path = format!("/s/{token}/sign");
    let tries = std::time::Instant::now();
    loop {
        let (status, body) = calls.post(at_node, &path, &signed).await?;
        match status {
            200 => break,
            // The seller's seal is still being put in.
            409 if tries.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            _ => bail!("{status}: {}", String::from_utf8_lossy(&body)),
        }
    }
    let told = tokio::time::timeout(PATIENCE, waiting).await;
    Ok(Receipt {
        flow: flow.to_owned(),
        began,
        told: told.ok().and_then(Result::ok),
    })
}

/// How long it took, for the report.
fn worked(receipts: &[Receipt]) -> Value {
    let mut waits: Vec<f64> = receipts
        .iter()
        .filter_map(|receipt| Some((receipt.told? - receipt.began) as f64 / 1e6))
        .collect();
    waits.sort_by(f64::total_cmp);
    let began = receipts.iter().map(|receipt| receipt.began).min();
    let ended = receipts.iter().filter_map(|receipt| receipt.told).max();
    let seconds = ended
        .zip(began)
        .map(|(ended, began)| (ended - began) as f64 / 1e9);
    json!({
        "seconds": seconds,
        "told": waits.len(),
        "p50": quantile(&waits, 0.5),
        "p99": quantile(&waits, 0.99),
    })
}

/// Looks at every receipt: completed once, its file what the API says it is and valid, its callback come, and come once.
async fn check(order: &Order, receipts: &[Receipt], channel: &Mutex<Channel>) -> Result<Value> {
    let mut calls = Calls::new(order);
    let (mut completed, mut lost, mut again, mut wrong) = (0_u64, 0_u64, 0_u64, Vec::new());
    for (place, receipt) in receipts.iter().enumerate() {
        let node = place % order.servers.len();
        let flow = &receipt.flow;
        let path = format!("/v1/sign-flows/{flow}");
        let evidence = calls.json(node, &format!("{path}/evidence")).await?;
        let (_, file) = calls.get(node, &format!("{path}/file")).await?;
        let ends = evidence["events"].as_array().into_iter().flatten();
        let ends = ends.filter(|event| {
            let json = event["canonical_json"].as_str().unwrap_or_default();
            json.contains("\"kind\":\"completed\"")
        });
        let is_completed = evidence["sign_flow"]["state"] == "completed" && ends.count() == 1;
        completed += u64::from(is_completed);
        let signatures = &evidence["signatures"];
        let both = signatures["signatures"].as_array().map_or(0, Vec::len) == 2;
        let is_valid = both && signatures["verdict"] == "valid";
        let is_named = evidence["documents"]["current_sha256"] == sha256(&file);
        if !(is_completed && is_valid && is_named) {
            wrong.push(flow.clone());
        }
        match lock(channel).told.get(flow) {
            Some(told) if told.status == "2" => again += told.times - 1,
            Some(told) => bail!("{flow} ended as {}", told.status),
            None => lost += 1,
        }
    }
    Ok(json!({ "completed": completed, "lost": lost, "again": again, "wrong": wrong }))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Connections to the servers, made when they are needed.
struct Calls {
    servers: Vec<String>,
    key: String,
    peers: Vec<Option<Peer>>,
}

impl Calls {
    fn new(order: &Order) -> Self {
        Self {
            servers: order.servers.clone(),
            key: order.key.clone(),
            peers: order.servers.iter().map(|_| None).collect(),
        }
    }

    async fn json(&mut self, node: usize, path: &str) -> Result<Value> {
        let (status, body) = self.get(node, path).await?;
        ensure!(status == 200, "{path} answers {status}");
        Ok(serde_json::from_slice(&body)?)
    }

    async fn get(&mut self, node: usize, path: &str) -> Result<(u16, Vec<u8>)> {
        self.call("GET", node, path, "").await
    }

    async fn post(&mut self, node: usize, path: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        self.call("POST", node, path, body).await
    }

    async fn call(
        &mut self,
        method: &str,
        node: usize,
        path: &str,
        body: &str,
    ) -> Result<(u16, Vec<u8>)> {
        let server = &self.servers[node];
        // A buyer has no key, and the signing pages ask for none.
        let authorization = match path.starts_with("/v1/") {
            true => format!("authorization: Bearer {}\r\n", self.key),
            false => String::new(),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {server}\r\n{authorization}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut peer = match self.peers[node].take() {
            Some(peer) => peer,
            None => Peer::connect(server).await?,
        };
        let hung_up = || format!("the server hung up on {method} {path}");
        let request = [head.as_bytes(), body.as_bytes()].concat();
        peer.write(&request).await.with_context(hung_up)?;
        let (head, body) = peer.read().await.with_context(hung_up)?;
        let status = head.get(9..12).context("no status")?;
        let answer = (std::str::from_utf8(status)?.parse()?, body.to_vec());
        self.peers[node] = Some(peer);
        Ok(answer)
    }
}

/// A receipt as a channel asks for it: the seller seals by itself, then the buyer signs.
fn receipt(number: u64) -> Value {
    let mut receipt = sample();
    receipt["number"] = format!("XF-2026-{number:07}").into();
    receipt["room"] = format!("{} 室", 101 + number % 3000).into();
    receipt["amount_fen"] = (100_000_000 + number * 7).into();
    receipt["payee"] = SELLER.into();
    json!({
        "reference": format!("R-{number}"),
        "signers": [
            { "type": "organization", "name": SELLER, "automatic": true, "order": 1 },
            { "type": "person", "name": receipt["payer"]["name"], "order": 2 },
        ],
        "document": { "receipt": receipt },
    })
}

fn sample() -> Value {
    let sample = include_str!("../../../crates/pdf/examples/receipt.json");
    serde_json::from_str(sample).unwrap_or_default()
}

/// A drawing of this buyer's own: the same strokes in a file that is like no other, so that each is kept as another document.
pub(super) fn drawn(number: u64) -> Vec<u8> {
    /// Where the header ends that every PNG begins with.
    const HEADER: usize = 33;
    let text = format!("tEXtbuyer\0{number}");
    let length = u32::try_from(text.len() - 4).unwrap_or_default();
    let (header, rest) = SIGNATURE.split_at(HEADER);
    let checked = crc32(text.as_bytes());
    [
        header,
        &length.to_be_bytes(),
        text.as_bytes(),
        &checked.to_be_bytes(),
        rest,
    ]
    .concat()
}

/// The checksum of a PNG's chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(sum & 1))
        })
    })
}
