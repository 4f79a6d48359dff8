//! A mail server that no one here wrote (aiosmtpd), with encryption and a password, that keeps what it takes.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::PATIENCE;

/// How a connection to it is encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// From the first byte on: `smtps://`.
    Tls,
    /// After STARTTLS, without which it takes nothing.
    StartTls,
}

pub(crate) struct MailServer {
    program: Child,
    port: u16,
    encryption: Encryption,
    kept: Arc<Mutex<Vec<Value>>>,
    folder: TempDir,
}

impl MailServer {
    pub(crate) fn start(encryption: Encryption) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let [certificate, key] = ["ca.pem", "key.pem"].map(|name| folder.path().join(name));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mode = match encryption {
            Encryption::Tls => "tls",
            Encryption::StartTls => "starttls",
        };
        let mut program = Command::new("python")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/it/pages/mail.py"
            ))
            .args([&certificate, &key])
            .arg(mode)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python does not start; `cargo xtask test` puts one with aiosmtpd on the PATH");
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let port = lines
            .next()
            .and_then(Result::ok)
            .and_then(|line| line.parse().ok())
            .expect("the mail server does not start; `cargo xtask test` installs aiosmtpd");
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                keep.lock()
                    .unwrap()
                    .push(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            program,
            port,
            encryption,
            kept,
            folder,
        }
    }

    /// For the setting `mail.server`.
    pub(crate) fn url(&self, password: &str) -> String {
        let port = self.port;
        match self.encryption {
            Encryption::Tls => format!("smtps://sealpost:{password}@localhost:{port}"),
            Encryption::StartTls => {
                format!("smtp://sealpost:{password}@localhost:{port}?tls=required")
            }
        }
    }

    /// The certificate to believe.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The mail of this number, from 0, once it has come.
    pub(crate) async fn mail(&self, number: usize) -> Value {
        let begun = Instant::now();
        loop {
            if let Some(mail) = self.kept.lock().unwrap().get(number) {
                return mail.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "no mail came");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
