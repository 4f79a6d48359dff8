//! `sealpost serve` as a process of its own, and the little HTTP that its clients and its channels need.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub(crate) fn sealpost(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost"));
    command
        .current_dir(folder)
        .arg("--data")
        .arg(folder.join("data"))
        .env("SEALPOST_DELIVERY_ALLOW_HTTP", "true")
        .env("SEALPOST_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8")
        .env("SEALPOST_LOG_FORMAT", "json")
        .env("SEALPOST_LOG_FILTER", "info");
    command
}

/// Adds a channel that is called at `receiver`; answers its API key.
pub(crate) fn add_channel(folder: &TempDir, receiver: SocketAddr) -> String {
    add_channel_by(sealpost(folder.path()), "链家", receiver, &[])
}

/// As [`add_channel`], by this form of the program, with this name and whatever else is said of it.
pub(crate) fn add_channel_by(
    mut sealpost: Command,
    name: &str,
    receiver: SocketAddr,
    more: &[&str],
) -> String {
    let output = sealpost
        .args([
            "channel",
            "add",
            name,
            "--json",
            "--callback-url",
            &format!("http://{receiver}/callback"),
        ])
        .args(more)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let channel: Value = serde_json::from_slice(&output.stdout).unwrap();
    channel["api_key"].as_str().unwrap().to_owned()
}

/// As [`start_command`] with [`sealpost`], by way of `wrapper`, which takes a program and its arguments and becomes it.
pub(crate) async fn start_server_by(mut wrapper: Command, folder: &Path) -> (Child, SocketAddr) {
    let direct = sealpost(folder);
    wrapper.arg(direct.get_program()).args(direct.get_args());
    let variables = direct.get_envs();
    wrapper.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    wrapper.current_dir(folder);
    start_command(wrapper).await
}

/// A shell that does `first` and then becomes the program it is given.
pub(crate) fn shell(first: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first} exec \"$0\" \"$@\"")]);
    shell
}

/// Starts the program as a server and reads from its log where it listens.
pub(crate) async fn start_command(command: Command) -> (Child, SocketAddr) {
    start_at(command, "127.0.0.1:0").await
}

/// As [`start_command`], for a server that is to listen at `listen`.
pub(crate) async fn start_at(mut command: Command, listen: &str) -> (Child, SocketAddr) {
    let mut server = command
        .args(["--listen", listen, "serve"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stderr = tokio::process::ChildStderr::from_std(server.stderr.take().unwrap()).unwrap();
    let mut lines = BufReader::new(stderr).lines();
    let address = tokio::time::timeout(Duration::from_secs(60), async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let Ok(line) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let address = line["address"]
                .as_str()
                .or(line["fields"]["address"].as_str());
            if let Some(address) = address.and_then(|text| text.parse().ok()) {
                return address;
            }
        }
        panic!("the server ended before it listened");
    });
    let address = address.await.expect("the server listens within a minute");
    // The rest of the log is read away, so that the server never waits for us.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (server, address)
}

/// Hands over one callback after the other, at most so many, until the server is gone; answers the flows whose callbacks were answered 202.
pub(crate) async fn hand_over(
    address: SocketAddr,
    key: String,
    client: u64,
    most: u64,
) -> Vec<String> {
    let mut accepted = Vec::new();
    let Ok(stream) = TcpStream::connect(address).await else {
        return accepted;
    };
    let mut stream = BufReader::new(stream);
    let mut number = 0;
    while number < most {
        let flow = format!("{client:016x}{number:016x}");
        match post_callback(&mut stream, &key, &flow).await {
            Some((head, _)) if head.starts_with("HTTP/1.1 202") => {
                accepted.push(flow);
                number += 1;
            }
            // The server could not; like any client, we ask again.
            Some((head, _)) if head.starts_with("HTTP/1.1 50") => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            Some((head, body)) => panic!("{head}\n{}", String::from_utf8_lossy(&body)),
            None => break,
        }
    }
    accepted
}

/// Hands over the callback of this flow; `None` when the connection ends before the answer.
pub(crate) async fn post_callback(
    stream: &mut BufReader<TcpStream>,
    key: &str,
    flow: &str,
) -> Option<(String, Vec<u8>)> {
    let body = json!({
        "sign_end_time": "2021-03-22 18:24:29",
        "sign_flow_status": "2",
        "sign_flow_id": flow,
        "sign_file_url": "https://sealpost.example/f/0123456789abcdefghijklmn",
    });
    let body = body.to_string();
    let request = format!(
        "POST /v1/callbacks HTTP/1.1\r\nhost: sealpost\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    read_message(stream).await
}

/// GETs JSON; `None` if the server cannot just now.
pub(crate) async fn get(address: SocketAddr, key: &str, path: &str) -> Option<Value> {
    let (head, body) = get_whatever(address, key, path).await?;
    head.starts_with("HTTP/1.1 200")
        .then(|| serde_json::from_slice(&body).unwrap())
}

/// GETs whatever the answer is.
pub(crate) async fn get_whatever(
    address: SocketAddr,
    key: &str,
    path: &str,
) -> Option<(String, Vec<u8>)> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.ok()?);
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    read_message(&mut stream).await
}

/// Reads one HTTP message with a content-length; `None` when the connection ends first.
pub(crate) async fn read_message(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
