//! Client certificates: what a channel's endpoint wants to see of us (mTLS), where it wants to see anything. Given as PEM or as
//! PKCS#12, kept encrypted as PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sealpost_contract::UtcMillis;
use sealpost_delivery::client::{Identity, Trust, tls_config};
use sealpost_pdf::SignError;
use sealpost_pdf::pki::Pkcs12;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::App;
use crate::problem::{Kind, Problem};

/// The most bytes of a file with a certificate or a key.
pub(crate) const MAX_FILE: usize = 64 * 1024;

/// PKCS#12 files are opened one at a time: how much work that is, their makers decide.
static OPENING: Semaphore = Semaphore::const_new(1);

/// Why a file is not taken: for programs and in English, and in Chinese for the console.
struct Why(&'static str, &'static str);

const TOO_LONG: Why = Why("it is larger than 64 KiB", "文件大于 64 KiB");
const NEITHER: Why = Why(
    "it is neither PEM nor PKCS#12",
    "文件既不是 PEM，也不是 PKCS#12",
);
const NO_CERTIFICATE: Why = Why("there is no certificate in it", "文件中没有证书");
const NO_KEY: Why = Why(
    "there is no private key in it, or it is encrypted",
    "文件中没有私钥，或私钥已加密",
);
const WRONG_PASSWORD: Why = Why(
    "the password is wrong, or the PKCS#12 file is damaged",
    "密码错误，或 PKCS#12 文件已损坏",
);
const NO_CERTIFICATE_FOR_KEY: Why = Why(
    "the PKCS#12 file holds no certificate for its key",
    "PKCS#12 文件中没有与私钥对应的证书",
);
/// Why a certificate was not taken, in Chinese; `None`: for a reason that is not the certificate's.
pub(crate) fn in_chinese(problem: &Problem) -> Option<String> {
    if problem.kind() != Kind::InvalidFields {
        return None;
    }
    let all = [
        TOO_LONG,
        NEITHER,
        NO_CERTIFICATE,
        NO_KEY,
        WRONG_PASSWORD,
        NO_CERTIFICATE_FOR_KEY,
    ];
    let why = all.iter().find(|why| problem.detail().contains(why.0));
    Some(match why {
        Some(why) => format!("{}。", why.1),
        None => format!("证书与私钥无法使用：{}", problem.detail()),
    })
}

/// As it is kept, encrypted.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The certificate and its chain, PEM; `None`: the channel had one, and it was removed.
    certificates: Option<String>,
    key: Option<String>,
}

/// What is shown of a channel's client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) not_before: UtcMillis,
    pub(crate) not_after: UtcMillis,
}

impl App {
    /// What a channel's client certificate says of itself; `None`: the channel has none.
    pub(crate) async fn shown_client_certificate(
        &self,
        channel_id: &str,
    ) -> Result<Option<ClientCertificate>, Problem> {
        let Some(identity) = self.find_client_certificate(channel_id).await? else {
            return Ok(None);
        };
        let leaf = CertificateDer::from_pem_slice(&identity.certificates_pem);
        let leaf = leaf.ok().and_then(|der| Certificate::from_der(&der).ok());
        let Some(leaf) = leaf else {
            return Ok(None);
        };
        let told = leaf.tbs_certificate();
        let millis = |time: &x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX)
        };
        Ok(Some(ClientCertificate {
            subject: told.subject().to_string(),
            issuer: told.issuer().to_string(),
            not_before: millis(&told.validity().not_before),
            not_after: millis(&told.validity().not_after),
        }))
    }

    /// Shows this certificate to a channel's endpoint from now on; `None`: none.
    pub async fn set_client_certificate(
        &self,
        channel_id: &str,
        identity: Option<(String, String)>,
    ) -> Result<(), Problem> {
        if let Some((certificates, key)) = &identity {
            let identity = Identity {
                certificates_pem: certificates.clone().into_bytes(),
                key_pem: key.clone().into_bytes(),
            };
            let trust = Trust::load(None).map_err(|error| unusable(&error))?;
            tls_config(&trust, Some(&identity)).map_err(|error| unusable(&error))?;
        }
        let (certificates, key) = identity.unzip();
        let kept = serde_json::to_vec(&Kept { certificates, key })
            .map_err(|error| Problem::internal("a client certificate cannot be kept", &error))?;
        let place = place(channel_id);
        let sealed = self.secrets().encrypt(&place, &kept)?;
        self.store()
            .replace_credential(&place, sealed, self.now())
            .await?;
        self.channel_changed(channel_id);
        Ok(())
    }

    /// The certificate that a channel's endpoint wants to see.
    pub(crate) async fn find_client_certificate(
        &self,
        channel_id: &str,
    ) -> sealpost_store::Result<Option<Identity>> {
        let place = place(channel_id);
        let Some(sealed) = self.store().find_credential(&place).await? else {
            return Ok(None);
        };
        let opened = self.secrets().decrypt(&place, &sealed);
        let Some(kept) = opened
            .ok()
            .and_then(|opened| serde_json::from_slice::<Kept>(&opened).ok())
        else {
            tracing::error!(
                channel = channel_id,
                "a client certificate cannot be opened; the endpoint is called without it"
            );
            return Ok(None);
        };
        let both = kept.certificates.zip(kept.key);
        Ok(both.map(|(certificates, key)| Identity {
            certificates_pem: certificates.into_bytes(),
            key_pem: key.into_bytes(),
        }))
    }
}

/// Certificates and key as PEM texts, from what somebody has uploaded: a PKCS#12 file with its password, a PEM file with both,
/// or one PEM file for each.
pub(crate) async fn read_identity(
    certificates: &[u8],
    key: &[u8],
    password: &str,
) -> Result<(String, String), Problem> {
    for (bytes, field) in [(certificates, "certificate"), (key, "key")] {
        if bytes.len() > MAX_FILE {
            return Err(Problem::field(field, "too_long", TOO_LONG.0));
        }
    }
    if certificates.first() == Some(&0x30) {
        return open_pkcs12(certificates.to_vec(), password.to_owned()).await;
    }
    read_pem(certificates, key)
}

fn read_pem(certificates: &[u8], key: &[u8]) -> Result<(String, String), Problem> {
    let text = |bytes: &[u8], field: &str| {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| Problem::field(field, "bad_format", NEITHER.0))
    };
    let certificates = text(certificates, "certificate")?;
    let key = if key.is_empty() {
        certificates.clone()
    } else {
        text(key, "key")?
    };
    if CertificateDer::from_pem_slice(certificates.as_bytes()).is_err() {
        return Err(Problem::field(
            "certificate",
            "bad_format",
            NO_CERTIFICATE.0,
        ));
    }
    if PrivateKeyDer::from_pem_slice(key.as_bytes()).is_err() {
        return Err(Problem::field("key", "bad_format", NO_KEY.0));
    }
    Ok((certificates, key))
}

/// Opens a PKCS#12 file away from the async threads.
async fn open_pkcs12(file: Vec<u8>, password: String) -> Result<(String, String), Problem> {
    let permit = OPENING.acquire().await;
    let permit = permit.map_err(|error| Problem::internal("the semaphore is closed", &error))?;
    // The work goes on when whoever asked hangs up, and so it keeps its place until it is done.
    let work = move || {
        let _permit = permit;
        read_pkcs12(&file, &password)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::internal("opening a PKCS#12 file panicked", &error))?
}

fn read_pkcs12(file: &[u8], password: &str) -> Result<(String, String), Problem> {
    let wrong = |message: &str| Problem::field("certificate", "bad_format", message);
    let opened = Pkcs12::open(file, password).map_err(|error| match error {
        SignError::Pkcs12 => wrong(WRONG_PASSWORD.0),
        SignError::Key(reason) => wrong(reason),
        other => wrong(&other.to_string()),
    })?;
    let key = pem("PRIVATE KEY", &opened.key);
    let certificates = opened.certificates.iter();
    let certificates: Vec<String> = certificates.map(|der| pem("CERTIFICATE", der)).collect();
    // A PKCS#12 file lists its certificates in any order; the one for the key must come first.
    for leaf in 0..certificates.len() {
        let mut chain = certificates.clone();
        chain[..=leaf].rotate_right(1);
        let chain = chain.concat();
        let identity = Identity {
            certificates_pem: chain.clone().into_bytes(),
            key_pem: key.clone().into_bytes(),
        };
        let trust = Trust::load(None).map_err(|error| unusable(&error))?;
        if tls_config(&trust, Some(&identity)).is_ok() {
            return Ok((chain, key));
        }
    }
    Err(wrong(NO_CERTIFICATE_FOR_KEY.0))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.extend(line.iter().map(|&byte| char::from(byte)));
        lines.push('\n');
    }
    lines + &format!("-----END {label}-----\n")
}

fn unusable(error: &sealpost_delivery::Error) -> Problem {
    Problem::field("client_certificate", "bad_format", format!("{error}"))
}

fn place(channel_id: &str) -> String {
    format!("channel/{channel_id}/client-certificate")
}
