//! SM2 signatures over SM3 (GB/T 32918.2-2016) with the default user id, encoded after GM/T 0009-2012.

use der::{Decode as _, Encode as _};
use sm2::{
    SecretKey,
    dsa::{
        DerSignature, Signature, SigningKey, VerifyingKey,
        signature::{Signer as _, Verifier as _},
    },
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _},
};
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use zeroize::Zeroizing;

use crate::sign::SignError;

/// Who signs, as far as the digest is concerned: everybody, where nothing else was agreed (GM/T 0009-2012 section 10).
const DEFAULT_USER: &str = "1234567812345678";

/// How often a random number is taken that is no key. One in 2³² is none.
const TRIES: usize = 4;

/// A private key on the curve of SM2.
pub(super) struct Sm2Key(SigningKey);

impl Sm2Key {
    pub(super) fn generate() -> Result<Self, SignError> {
        let mut scalar = Zeroizing::new([0_u8; 32]);
        for _ in 0..TRIES {
            aws_lc_rs::rand::fill(scalar.as_mut_slice())
                .map_err(|_| SignError::Crypto("make random bytes"))?;
            if let Ok(key) = SigningKey::from_slice(DEFAULT_USER, scalar.as_slice()) {
                return Ok(Self(key));
            }
        }
        Err(SignError::Crypto("make a key"))
    }

    /// Reads PKCS#8; `None` when it holds another kind of key.
    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let key = SecretKey::from_pkcs8_der(pkcs8).ok()?;
        SigningKey::new(DEFAULT_USER, &key).ok().map(Self)
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let key = SecretKey::from(self.0.as_nonzero_scalar());
        let document = key.to_pkcs8_der();
        let document = document.map_err(|_| SignError::Crypto("export a key"))?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }

    pub(super) fn public(&self) -> Result<SubjectPublicKeyInfoOwned, SignError> {
        let document = self.0.verifying_key().to_public_key_der();
        let document = document.map_err(|_| SignError::Crypto("state a public key"))?;
        Ok(SubjectPublicKeyInfoOwned::from_der(document.as_bytes())?)
    }

    /// Signs `message`: `SEQUENCE { r INTEGER, s INTEGER }`. The number that must never come twice is derived from key and
    /// message (RFC 6979), so no randomness can be too weak for it.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.0.try_sign(message);
        let signature: Signature = signature.map_err(|_| SignError::Crypto("sign"))?;
        Ok(signature.to_der().to_der()?)
    }
}

/// Whether `signature` is one of the key at the point `public` (SEC 1, uncompressed or compressed) over `message`.
pub(crate) fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = VerifyingKey::from_sec1_bytes(DEFAULT_USER, public);
    let signature = DerSignature::from_der(signature)
        .ok()
        .and_then(|signature| Signature::try_from(signature).ok());
    match (key, signature) {
        (Ok(key), Some(signature)) => key.verify(message, &signature).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8";
    const PUBLIC: &str = "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020\
                          ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13";
    const R: &str = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3";
    const S: &str = "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa";

    /// The example of GB/T 32918.5-2017 appendix A.2.
    #[test]
    fn the_signature_of_the_standard_verifies_and_its_key_signs() {
        let public = hex::decode(PUBLIC).unwrap();
        // Both numbers have their highest bit set, so that a zero goes before each.
        let standard = hex::decode(format!("3046022100{R}022100{S}")).unwrap();
        assert!(verify(&public, b"message digest", &standard));
        assert!(!verify(&public, b"message digesT", &standard));

        let private = hex::decode(PRIVATE).unwrap();
        let key = Sm2Key(SigningKey::from_slice(DEFAULT_USER, &private).unwrap());
        assert_eq!(key.0.verifying_key().to_sec1_bytes().as_ref(), public);
        let ours = key.sign(b"message digest").unwrap();
        assert!(verify(&public, b"message digest", &ours));
        for at in 0..ours.len() {
            let mut changed = ours.clone();
            changed[at] ^= 1;
            assert!(!verify(&public, b"message digest", &changed), "byte {at}");
        }
    }

    #[test]
    fn a_key_comes_back_from_pkcs8() {
        let key = Sm2Key::generate().unwrap();
        let again = Sm2Key::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        assert!(again.public().unwrap() == key.public().unwrap());
        assert!(again.0 == key.0);
    }
}
