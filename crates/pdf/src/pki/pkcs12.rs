//! PKCS#12 files (RFC 7292), as certification authorities hand them out, opened where that takes no more work than it should.
//!
//! How much work it is to try a password, the file's maker decides. What the file states in the open is looked at before any of
//! it is done; parts that are encrypted twice, which nobody writes, have the bounds of the library alone.

use p12_keystore::Pkcs12Archive;
use zeroize::Zeroizing;

use crate::sign::SignError;
use crate::verify::tlv::{INTEGER, OCTET_STRING, SEQUENCE, Tlv};

/// The largest file, in bytes.
const MAX_FILE: usize = 1 << 20;
/// The most iterations for one key, and for all of a file. The library has the first limit too, but says only that it failed.
const MAX_ITERATIONS: usize = 1_000_000;
const MAX_ALL_ITERATIONS: usize = 10_000_000;
/// The most memory for one key (scrypt), in bytes.
const MAX_MEMORY: usize = 64 << 20;
/// How deep a file is walked into; what matters is at most 20 deep.
const MAX_DEPTH: usize = 32;

const OBJECT_IDENTIFIER: u8 = 0x06;
/// What `pkcs-12PbeIds` begin with (RFC 7292 appendix C).
const PKCS12_PBE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
/// `id-PBKDF2` (RFC 8018 appendix A.2).
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// `id-scrypt` (RFC 7914 section 7).
const SCRYPT: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];

/// What a file holds: one private key and certificates, in no order.
pub struct Pkcs12 {
    /// The key as an unencrypted PKCS#8 `PrivateKeyInfo`.
    pub key: Zeroizing<Vec<u8>>,
    /// The certificates in DER.
    pub certificates: Vec<Vec<u8>>,
}

impl Pkcs12 {
    /// Opens a file with its password. Takes up to some seconds of a core.
    ///
    /// # Errors
    /// When the file is larger than 1 MiB, asks for more than 1,000,000 iterations for a key, 10,000,000 for all or 64 MiB of
    /// memory; when the password is wrong, or the file damaged or protected in an unknown way; when it does not hold exactly one
    /// key.
    pub fn open(file: &[u8], password: &str) -> Result<Self, SignError> {
        if file.len() > MAX_FILE {
            return Err(SignError::TooLarge {
                what: "the PKCS#12 file in bytes",
                limit: MAX_FILE,
            });
        }
        Work::of(file).check()?;
        let archive = Pkcs12Archive::from_pkcs12(file, password).map_err(|_| SignError::Pkcs12)?;
        let [bag] = &archive.keys[..] else {
            return Err(SignError::Key(
                "the PKCS#12 file does not hold exactly one key",
            ));
        };
        let certificates = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec());
        Ok(Self {
            key: Zeroizing::new(bag.key.as_der().to_vec()),
            certificates: certificates.collect(),
        })
    }
}

/// The work that a file asks for: iterations, and bytes of memory.
#[derive(Debug, Default, PartialEq, Eq)]
struct Work {
    most: u64,
    all: u64,
    memory: u64,
}

impl Work {
    fn of(file: &[u8]) -> Self {
        let mut work = Self::default();
        work.walk(file, 0);
        // The iterations of the file's own digest stand last in it, beside no name (RFC 7292 section 4).
        let file = Tlv::split(file).map(|(file, _)| file.elements());
        let digest = file.and_then(|mut elements| elements.nth(2));
        if let Some(digest) = digest {
            work.add(digest.elements().nth(2));
        }
        work
    }

    /// Adds what each element states that follows the name of a key derivation.
    fn walk(&mut self, bytes: &[u8], depth: usize) {
        let mut rest = bytes;
        let mut name: &[u8] = &[];
        while let Some((element, after)) = Tlv::split(rest) {
            rest = after;
            let is_constructed = element.tag & 0x20 != 0;
            if element.tag == SEQUENCE {
                if name == PBKDF2 || name.starts_with(PKCS12_PBE) {
                    self.add(element.elements().nth(1));
                } else if name == SCRYPT {
                    self.add_scrypt(&element);
                }
            }
            if depth < MAX_DEPTH && (is_constructed || element.tag == OCTET_STRING) {
                self.walk(element.content, depth + 1);
            }
            name = match element.tag {
                OBJECT_IDENTIFIER => element.content,
                _ => &[],
            };
        }
    }

    fn add(&mut self, iterations: Option<Tlv<'_>>) {
        let iterations = iterations.map_or(0, number);
        self.most = self.most.max(iterations);
        self.all = self.all.saturating_add(iterations);
    }

    /// A step of scrypt, which mixes 128 bytes, counts as one iteration.
    fn add_scrypt(&mut self, parameters: &Tlv<'_>) {
        let mut numbers = parameters.elements().skip(1).map(number);
        let mut next = || numbers.next().unwrap_or(0);
        let (cost, block, parallel) = (next(), next(), next());
        let blocks = cost.saturating_mul(block);
        self.memory = self.memory.max(blocks.saturating_mul(128));
        self.all = self.all.saturating_add(blocks.saturating_mul(parallel));
    }

    fn check(&self) -> Result<(), SignError> {
        let limits = [
            (
                self.most,
                "the iterations for one key of the PKCS#12 file",
                MAX_ITERATIONS,
            ),
            (
                self.all,
                "the iterations for all keys of the PKCS#12 file",
                MAX_ALL_ITERATIONS,
            ),
            (
                self.memory,
                "the memory for a key of the PKCS#12 file in bytes",
                MAX_MEMORY,
            ),
        ];
        for (wanted, what, limit) in limits {
            if wanted > limit as u64 {
                return Err(SignError::TooLarge { what, limit });
            }
        }
        Ok(())
    }
}

/// A positive number; one that is too large is the largest.
fn number(element: Tlv<'_>) -> u64 {
    if element.tag != INTEGER {
        return 0;
    }
    let significant = element.content.iter().skip_while(|&&octet| octet == 0);
    significant.fold(0_u64, |number, &octet| {
        number
            .checked_mul(256)
            .map_or(u64::MAX, |number| number.saturating_add(octet.into()))
    })
}
