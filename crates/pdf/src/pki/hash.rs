//! The digests that signatures are made over: SHA-2, and SM3 (GB/T 32905-2016).

use aws_lc_rs::digest::{Context, SHA256, SHA384, SHA512};
use der::asn1::ObjectIdentifier;
use sm3::Digest as _;

use super::oid;

/// A digest algorithm that is strong enough to be relied on. SHA-1 and MD5 are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
    Sm3,
}

/// What came out, with what it came out of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest {
    hash: Hash,
    bytes: [u8; 64],
}

impl Hash {
    const ALL: [Self; 4] = [Self::Sha256, Self::Sha384, Self::Sha512, Self::Sm3];

    /// The algorithm of an identifier; `None` when it is unknown or too weak.
    pub(crate) fn of_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.oid() == oid)
    }

    pub(crate) fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha256 => oid::SHA256,
            Self::Sha384 => oid::SHA384,
            Self::Sha512 => oid::SHA512,
            Self::Sm3 => oid::SM3,
        }
    }

    /// The bytes of a digest.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Sha256 | Self::Sm3 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of these pieces, one after the other.
    pub(crate) fn of(self, pieces: &[&[u8]]) -> Digest {
        let mut bytes = [0; 64];
        let out = &mut bytes[..self.length()];
        let sha = match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
            Self::Sm3 => {
                let mut context = sm3::Sm3::new();
                pieces.iter().for_each(|piece| context.update(piece));
                out.copy_from_slice(&context.finalize());
                return Digest { hash: self, bytes };
            }
        };
        let mut context = Context::new(sha);
        pieces.iter().for_each(|piece| context.update(piece));
        out.copy_from_slice(context.finish().as_ref());
        Digest { hash: self, bytes }
    }
}

impl Digest {
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.hash.length()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of GB/T 32905-2016 appendix A, and one of FIPS 180-4.
    #[test]
    fn digests_are_those_of_the_standards() {
        let abcd = b"abcd".repeat(16);
        for (hash, message, wanted) in [
            (
                Hash::Sm3,
                &b"abc"[..],
                "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
            ),
            (
                Hash::Sm3,
                &abcd,
                "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732",
            ),
            (
                Hash::Sha256,
                b"abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
        ] {
            assert_eq!(hex::encode(hash.of(&[message])), wanted);
            let (one, other) = message.split_at(2);
            assert_eq!(hex::encode(hash.of(&[one, b"", other])), wanted);
        }
    }
}
