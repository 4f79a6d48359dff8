//! `cargo xtask bench pdf`: what paper costs on one core: drawing a receipt, seals, signing with each kind of key beside the bare
//! key operation, verifying, void copies and page images; and pyHanko signing the same file.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use sealpost_pdf::{
    Authority, DrawMeta, Field, KeyAlgorithm, Place, PlaceKind, Receipt, RoundSeal, SignRequest,
    SignerLabel, Subject, Trust, Validity, Verdict, Void, VoidKind, add_fields, draw, mark, render,
    sign, verify,
};
use sm2::dsa::signature::Signer as _;

/// Times in UTC milliseconds: 2026-11-24 and a year around it.
pub(crate) const NOW: i64 = 1_795_514_400_000;
pub(crate) const VALIDITY: Validity = Validity {
    not_before: NOW - 86_400_000,
    not_after: NOW + 365 * 86_400_000,
};

/// Every suite, with what people call it.
const SUITES: [(&str, KeyAlgorithm); 6] = [
    ("RSA-2048", KeyAlgorithm::Rsa2048),
    ("RSA-3072", KeyAlgorithm::Rsa3072),
    ("RSA-4096", KeyAlgorithm::Rsa4096),
    ("P-256", KeyAlgorithm::P256),
    ("P-384", KeyAlgorithm::P384),
    ("SM2", KeyAlgorithm::Sm2),
];

#[derive(Parser)]
#[command(name = "cargo xtask bench pdf")]
struct Options {
    /// How long each operation is repeated, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Leave pyHanko out.
    #[arg(long)]
    without_pyhanko: bool,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let name = "cargo xtask bench pdf".to_owned();
    let options = Options::parse_from(std::iter::once(name).chain(args.iter().cloned()));
    let bench = Bench {
        time: Duration::from_secs_f64(options.seconds),
    };
    println!(
        "One thread, its processor time; each operation is repeated for {} s.\n",
        options.seconds
    );
    println!("{:<46} {:>10} {:>12}", "", "per second", "each");

    let Sample {
        receipt,
        signers,
        meta,
    } = Sample::read()?;
    let drawn = draw(&receipt, &signers, &meta)?;
    bench.row("draw a receipt", || draw(&receipt, &signers, &meta))?;
    let seal = RoundSeal {
        organization: receipt.payee.clone(),
        legend: Some("财务专用章".to_owned()),
    };
    bench.row("draw a round seal", || seal.draw())?;
    let void = Void {
        kind: VoidKind::Revoked,
        flow_id: meta.flow_id.clone(),
        ended: "2026-11-24 18:24:29".to_owned(),
    };
    bench.row("void copy", || mark::void_copy(&drawn.pdf, &void))?;
    bench.row("page as PNG, 1200 pixels wide", || {
        render::page_png(&drawn.pdf, 0, 1200)
    })?;
    let fields = fields(&drawn.places);
    bench.row("add both signature fields", || {
        add_fields(&drawn.pdf, &fields)
    })?;

    let ready = add_fields(&drawn.pdf, &fields)?;
    let picture = seal.draw()?;
    let mut sizes = vec![("the receipt, and sealed with", drawn.pdf.len())];
    for (name, algorithm) in SUITES {
        let bare = bench.bare(name, algorithm)?;
        let authority = Authority::generate("bench", algorithm, VALIDITY)?;
        let subject = Subject::Organization {
            name: &receipt.payee,
            credit_code: None,
        };
        let credential = authority.issue(subject, algorithm, VALIDITY)?;
        let request = SignRequest {
            field: "signer1",
            appearance: Some(&picture),
            credential: &credential,
            signing_time: NOW,
            zone_minutes: 480,
            reason: None,
            location: None,
            name: None,
        };
        let rate = bench.row(&format!("sign with seal, {name}"), || {
            sign(&ready, &request)
        })?;
        println!(
            "{:<46} {:>9.0}%",
            "  of the bare key operation",
            100.0 * rate / bare
        );
        let once = sign(&ready, &request)?;
        let twice = sign(
            &once,
            &SignRequest {
                field: "signer2",
                appearance: None,
                ..request
            },
        )?;
        let trust = Trust::roots([authority.certificate().to_vec()]);
        let report = verify(&twice, &trust, NOW)?;
        anyhow::ensure!(
            report.verdict == Verdict::Valid,
            "the signatures must be valid"
        );
        bench.row(&format!("verify two signatures, {name}"), || {
            verify(&twice, &trust, NOW)
        })?;
        sizes.push((name, once.len()));
    }
    println!();
    for (name, bytes) in sizes {
        println!("{name}: {bytes} bytes");
    }
    if !options.without_pyhanko {
        println!();
        pyhanko(&drawn.pdf)?;
    }
    Ok(())
}

struct Bench {
    time: Duration,
}

impl Bench {
    /// Repeats an operation and prints how often it was done; returns that, per second.
    fn row<T, E>(&self, name: &str, operation: impl Fn() -> Result<T, E>) -> Result<f64>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        // Once without being measured: what is made on first use.
        black_box(operation().with_context(|| name.to_owned())?);
        let (start, used) = (Instant::now(), processor_time());
        let mut count = 0_u32;
        while start.elapsed() < self.time {
            black_box(operation().with_context(|| name.to_owned())?);
            count += 1;
        }
        let each = (processor_time() - used).as_secs_f64() / f64::from(count);
        println!("{name:<46} {:>10.0} {:>9.3} ms", 1.0 / each, each * 1000.0);
        Ok(1.0 / each)
    }

    /// The key operation alone, over a message as long as signed attributes are.
    fn bare(&self, name: &str, algorithm: KeyAlgorithm) -> Result<f64> {
        let random = SystemRandom::new();
        let message = [7; 128];
        let label = format!("bare {name} signature");
        let rsa = |size| {
            let key = RsaKeyPair::generate(size)?;
            let length = key.public_modulus_len();
            self.row(&label, || {
                let mut out = vec![0; length];
                key.sign(&RSA_PKCS1_SHA256, &random, &message, &mut out)
                    .map(|()| out)
            })
        };
        let ec = |curve| {
            let key = EcdsaKeyPair::generate(curve)?;
            black_box(key.public_key().as_der()?);
            self.row(&label, || key.sign(&random, &message))
        };
        match algorithm {
            KeyAlgorithm::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyAlgorithm::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyAlgorithm::Rsa4096 => rsa(KeySize::Rsa4096),
            KeyAlgorithm::P256 => ec(&ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyAlgorithm::P384 => ec(&ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyAlgorithm::Sm2 => {
                let mut scalar = [0; 32];
                aws_lc_rs::rand::fill(&mut scalar)?;
                let key = sm2::dsa::SigningKey::from_slice("1234567812345678", &scalar)?;
                self.row(&label, || -> Result<sm2::dsa::Signature, _> {
                    key.try_sign(&message)
                })
            }
            other => anyhow::bail!("the bench does not know {other}"),
        }
    }
}

/// The processor time of this thread, which does not grow while others are at work.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// pyHanko, if it is installed, signing the same document with an RSA-2048 key of its own.
fn pyhanko(pdf: &[u8]) -> Result<()> {
    const SCRIPT: &str = r#"
import io, sys, time
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import signers
folder, count = sys.argv[1], 30
signer = signers.SimpleSigner.load(f"{folder}/key.pem", f"{folder}/cert.pem")
pdf = open(f"{folder}/receipt.pdf", "rb").read()
meta = signers.PdfSignatureMetadata(field_name="signer1", md_algorithm="sha256")
def once():
    signers.sign_pdf(IncrementalPdfFileWriter(io.BytesIO(pdf)), meta, signer=signer, output=io.BytesIO())
once()
start = time.process_time()
for _ in range(count):
    once()
each = (time.process_time() - start) / count
print(f"{'pyHanko signs the same file, RSA-2048':<46} {1 / each:>10.0f} {each * 1000:>9.3f} ms")
"#;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("receipt.pdf"), pdf)?;
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=bench",
            "-days",
            "2",
        ])
        .arg("-keyout")
        .arg(path("key.pem"))
        .arg("-out")
        .arg(path("cert.pem"))
        .output()
        .context("openssl")?;
    anyhow::ensure!(made.status.success(), "openssl could not make a key");
    let python = std::env::var("SEALPOST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(Path::new(folder.path()))
        .output()?;
    if output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        println!(
            "pyHanko was not measured: {}",
            errors.lines().last().unwrap_or_default()
        );
    }
    Ok(())
}

/// What is drawn: the sample that the tests and the example of the crate draw, too, with a seal and a signature.
pub(crate) struct Sample {
    pub(crate) receipt: Receipt,
    pub(crate) signers: [SignerLabel; 2],
    pub(crate) meta: DrawMeta,
}

impl Sample {
    pub(crate) fn read() -> Result<Sample> {
        let sample = include_str!("../../crates/pdf/examples/receipt.json");
        let receipt = Receipt::parse(&serde_json::from_str(sample)?)
            .map_err(|errors| anyhow!("{errors:?}"))?;
        let signers = [
            (1, &receipt.payee, PlaceKind::Seal),
            (2, &receipt.payer.name, PlaceKind::Signature),
        ]
        .map(|(signer, name, kind)| SignerLabel {
            signer,
            name: name.clone(),
            kind,
        });
        let meta = DrawMeta {
            flow_id: "587a2f4738d44391835198df570b6ee6".to_owned(),
            drawn_at: NOW,
            verify_url: Some("https://sign.example.com/verify".to_owned()),
        };
        Ok(Sample {
            receipt,
            signers,
            meta,
        })
    }
}

/// A signature field for each place of the sample: `signer1`, `signer2`.
pub(crate) fn fields(places: &[Place]) -> Vec<Field> {
    let field = |place: &Place| Field {
        name: format!("signer{}", place.signer),
        page: place.page,
        rect: place.rect,
    };
    places.iter().map(field).collect()
}
