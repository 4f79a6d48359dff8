//! An S3 server of a test's own that checks who signs each request, and with which key. Also part of the tests of the crates above.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use sealpost_store::{BucketCredentials, BucketOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What the key may do, and nothing else.
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"*"}]}"#;

/// The server with one bucket, `receipts`, and one key.
pub(crate) struct StrictStorage {
    process: Child,
    server: String,
    key: BucketCredentials,
}

impl StrictStorage {
    /// `cargo xtask test` has installed the program.
    pub(crate) async fn start() -> StrictStorage {
        let mut process = Command::new("moto_server")
            .args(["--host", "127.0.0.1", "--port", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("there is no moto_server; run: cargo xtask test");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let server = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("Running on http://")?.1.trim().to_owned()))
            .unwrap();
        // It tells of every request, and would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut storage = StrictStorage {
            process,
            server,
            key: BucketCredentials {
                access_key_id: String::new(),
                secret_access_key: String::new(),
                session_token: None,
            },
        };
        storage.ask("s3", "PUT", "/receipts", "").await;
        let act = async |form: String| storage.ask("iam", "POST", "/", &form).await;
        act("Action=CreateUser&UserName=sealpost".to_owned()).await;
        let policy: String = POLICY.bytes().map(|byte| format!("%{byte:02x}")).collect();
        act(format!(
            "Action=PutUserPolicy&UserName=sealpost&PolicyName=p&PolicyDocument={policy}"
        ))
        .await;
        let made = act("Action=CreateAccessKey&UserName=sealpost".to_owned()).await;
        let inside = |name: &str| {
            let (_, rest) = made.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        storage.key.access_key_id = inside("AccessKeyId");
        storage.key.secret_access_key = inside("SecretAccessKey");
        // From here on it believes nobody.
        storage.ask("s3", "POST", "/moto-api/reset-auth", "0").await;
        storage
    }

    /// The bucket with the right key.
    pub(crate) fn options(&self) -> BucketOptions {
        let mut options = BucketOptions::parse("s3://receipts/a/b").unwrap();
        options.endpoint = Some(self.endpoint());
        options.allow_http = true;
        options.credentials = Some(self.key.clone());
        options
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.server)
    }

    async fn ask(&self, service: &str, method: &str, path: &str, body: &str) -> String {
        let (server, length) = (&self.server, body.len());
        let content = match service {
            "iam" => "application/x-www-form-urlencoded",
            _ => "text/plain",
        };
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {server}\r\ncontent-type: {content}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some("200"), "{answer}");
        answer
    }
}

impl Drop for StrictStorage {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
