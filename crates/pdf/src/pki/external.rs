//! Private keys that are elsewhere: in a hardware module, or behind a service of the operator's.

use der::{Encode as _, Sequence, asn1::UintRef};

use super::KeyAlgorithm;
use crate::sign::SignError;

/// Why a key outside this process did not sign.
pub type ExternalKeyError = Box<dyn std::error::Error + Send + Sync>;

/// A private key that never enters this process. [`Credential::external`](super::Credential::external) signs with it.
///
/// Its answers are checked against the certificate before the credential is made, and a false one later on is found when the
/// finished document is verified.
pub trait ExternalKey: Send + Sync {
    /// Signs `message`, a few kilobytes at most, by the algorithm of its certificate; digesting the message is part of it:
    ///
    /// - RSA: PKCS#1 v1.5 with SHA-256 (RFC 8017 section 8.2), as long as the modulus;
    /// - P-256 and P-384: ECDSA with SHA-256 and SHA-384, as the ASN.1 `SEQUENCE { r, s }` (see [`ecdsa_signature`]);
    /// - SM2: with SM3 and the default user id (GM/T 0009-2012), as the same sequence.
    ///
    /// It may block, and is called from several threads.
    ///
    /// # Errors
    /// Whatever keeps it from signing. The error is shown to operators, so it must not hold secrets.
    fn sign(&self, algorithm: KeyAlgorithm, message: &[u8]) -> Result<Vec<u8>, ExternalKeyError>;
}

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// The ASN.1 form of an ECDSA signature that is r and s of equal length one after the other, as hardware modules give it.
///
/// # Errors
/// When it cannot be that.
pub fn ecdsa_signature(raw: &[u8]) -> Result<Vec<u8>, SignError> {
    if raw.is_empty() || !raw.len().is_multiple_of(2) {
        return Err(SignError::Crypto("sign: r and s must be of equal length"));
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    let (r, s) = (UintRef::new(r)?, UintRef::new(s)?);
    Ok(EcdsaSignature { r, s }.to_der()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_and_s_become_a_sequence_of_integers() {
        let raw = [[0, 0x80], [0, 0]].concat();
        assert_eq!(
            ecdsa_signature(&raw).unwrap(),
            [0x30, 7, 2, 2, 0, 0x80, 2, 1, 0]
        );
        assert!(ecdsa_signature(&[]).is_err());
        assert!(ecdsa_signature(&[1, 2, 3]).is_err());
    }
}
