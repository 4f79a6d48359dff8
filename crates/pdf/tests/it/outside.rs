//! A certification authority that OpenSSL keeps: its root, a signer whose certificate names an OCSP responder, and that responder.
//!
//! Its certificates begin with the machine's day, because OpenSSL's responder tells the machine's time.

use std::path::PathBuf;

use sealpost_pdf::{Credential, Trust};

use crate::{judges, parties::Desk};

const OPENSSL: &str = "apt-get install openssl";

pub(crate) struct Outside {
    pub(crate) desk: Desk,
    /// The machine's time, in UTC milliseconds.
    pub(crate) now: i64,
}

/// What the responder knows of the signer.
#[derive(Clone, Copy)]
pub(crate) enum Standing {
    Good,
    /// Since an hour before now.
    Revoked,
    Unknown,
}

/// Who signs the responder's answers.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// Whom the authority has made its responder.
    Responder,
    /// The authority itself.
    Root,
    /// The signer, who is no responder.
    Signer,
}

impl Outside {
    pub(crate) fn new() -> Self {
        let desk = Desk::new();
        // A file that was just written has the machine's time.
        let written = desk.put("now", "").metadata().unwrap().modified().unwrap();
        let now = written.duration_since(std::time::UNIX_EPOCH).unwrap();
        let outside = Self {
            desk,
            now: now.as_millis() as i64,
        };
        outside.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {root.key} -out {root.pem} -days 3650 \
             -subj /CN=Outside -addext keyUsage=critical,keyCertSign,cRLSign",
        );
        outside.issue(
            "signer",
            "4097",
            "keyUsage=critical,nonRepudiation\nextendedKeyUsage=emailProtection\n\
             authorityInfoAccess=OCSP;URI:http://ocsp.outside.example/\n\
             crlDistributionPoints=URI:http://crl.outside.example/root.crl\n",
        );
        outside.issue(
            "responder",
            "4098",
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=OCSPSigning\nnoCheck=ignored\n",
        );
        outside
    }

    fn issue(&self, name: &str, serial: &str, extensions: &str) {
        self.desk.put("extensions.cnf", extensions);
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {{{name}.key}} -out {{{name}.csr}} -subj /CN={name}"
        ));
        self.openssl(&format!(
            "x509 -req -in {{{name}.csr}} -CA {{root.pem}} -CAkey {{root.key}} -set_serial {serial} -days 365 \
             -extfile {{extensions.cnf}} -out {{{name}.pem}}"
        ));
    }

    /// Runs OpenSSL; a name in braces is a file on the desk.
    pub(crate) fn openssl(&self, arguments: &str) -> String {
        let path = |word: &str| match word
            .strip_prefix('{')
            .and_then(|word| word.strip_suffix('}'))
        {
            Some(name) => self.path(name).to_str().unwrap().to_owned(),
            None => word.to_owned(),
        };
        let arguments: Vec<String> = arguments.split_whitespace().map(path).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (fine, said) = judges::run("openssl", &arguments, OPENSSL);
        assert!(fine, "{arguments:?}: {said}");
        said
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.desk.path().join(name)
    }

    /// A certificate in DER.
    pub(crate) fn certificate(&self, name: &str) -> Vec<u8> {
        self.openssl(&format!(
            "x509 -in {{{name}.pem}} -outform DER -out {{{name}.der}}"
        ));
        std::fs::read(self.path(&format!("{name}.der"))).unwrap()
    }

    pub(crate) fn signer(&self) -> Credential {
        self.openssl("pkcs8 -topk8 -nocrypt -in {signer.key} -outform DER -out {signer.p8}");
        let key = std::fs::read(self.path("signer.p8")).unwrap();
        Credential::from_pkcs8(
            &key,
            vec![self.certificate("signer"), self.certificate("root")],
        )
        .unwrap()
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::roots([self.certificate("root")])
    }

    /// The responder's answer to a question in DER.
    pub(crate) fn answer(&self, question: &[u8], standing: Standing, by: By) -> Vec<u8> {
        let (from, to) = (self.now - 3_600_000, self.now + 300 * 86_400_000);
        let index = match standing {
            Standing::Good => format!("V\t{}\t\t1001\tunknown\t/CN=signer\n", stamp(to)),
            Standing::Revoked => format!(
                "R\t{}\t{}\t1001\tunknown\t/CN=signer\n",
                stamp(to),
                stamp(from)
            ),
            Standing::Unknown => String::new(),
        };
        let by = match by {
            By::Responder => "responder",
            By::Root => "root",
            By::Signer => "signer",
        };
        self.desk.put("index", index);
        self.desk.put("question", question);
        self.openssl(&format!(
            "ocsp -index {{index}} -CA {{root.pem}} -rsigner {{{by}.pem}} -rkey {{{by}.key}} -reqin {{question}} \
             -respout {{answer}} -ndays 7"
        ));
        std::fs::read(self.path("answer")).unwrap()
    }
}

/// `YYMMDDhhmmssZ`.
fn stamp(at: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(at).unwrap();
    moment.strftime("%y%m%d%H%M%SZ").to_string()
}
