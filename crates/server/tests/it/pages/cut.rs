//! A connection that can be cut: a forwarder between the browser and the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to what passes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Passage {
    /// Everything passes.
    Open = 0,
    /// Requests reach the server; its answers are lost, and the connection with them.
    AnswersLost = 1,
    /// Nothing passes; connections are closed at once.
    Shut = 2,
}

pub(crate) struct Line {
    address: SocketAddr,
    passage: Arc<AtomicU8>,
}

impl Line {
    /// A forwarder to the server at this base URL.
    pub(crate) async fn to(base: &str) -> Self {
        let server = base.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passage = Arc::new(AtomicU8::new(Passage::Open as u8));
        let state = Arc::clone(&passage);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server.clone(), Arc::clone(&state)));
            }
        });
        Self { address, passage }
    }

    pub(crate) fn set(&self, passage: Passage) {
        self.passage.store(passage as u8, Ordering::SeqCst);
    }

    /// The same link, through this line.
    pub(crate) fn link(&self, url: &str) -> String {
        let path = url.splitn(4, '/').nth(3).unwrap();
        format!("http://{}/{path}", self.address)
    }
}

async fn forward(mut client: TcpStream, server: String, passage: Arc<AtomicU8>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut from_server) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let now = |passage: &AtomicU8| passage.load(Ordering::SeqCst);
        if now(&passage) == Passage::Shut as u8 {
            return;
        }
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(n) if n > 0 && now(&passage) != Passage::Shut as u8 => {
                    if server.write_all(&from_client[..n]).await.is_err() { return; }
                }
                _ => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(n) if n > 0 && now(&passage) == Passage::Open as u8 => {
                    if client.write_all(&from_server[..n]).await.is_err() { return; }
                }
                _ => return,
            },
        }
    }
}
