//! Hash and MAC inputs: every variable part carries its length, so that no two lists of parts give
//! the same bytes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The `LP` of the specifications: u32 big-endian length, then the bytes.
///
/// Nothing we hash comes near 4 GiB; a longer input would saturate the length, never wrap it.
pub(crate) fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// SHA-256 over parts; `lp` adds a part with its length, `raw` one of fixed length.
#[derive(Default)]
pub(crate) struct Hash(Sha256);

impl Hash {
    /// Starts with the domain tag, as every hash input does.
    pub(crate) fn tagged(tag: &str) -> Self {
        Self::default().lp(tag.as_bytes())
    }

    pub(crate) fn lp(self, bytes: &[u8]) -> Self {
        self.raw(&length(bytes)).raw(bytes)
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.add(bytes);
        self
    }

    /// As `raw`, for inputs that come one by one.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// HMAC-SHA-256 (RFC 2104, FIPS 198-1) with a 32-byte key over the concatenated parts.
pub(crate) fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads a short key with zeros to its 64-byte block; done here because the constructor that
    // takes a block cannot fail, while the one that takes a slice returns an error to handle.
    let mut block = zeroize::Zeroizing::new([0u8; 64]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: [u8; 32]) -> String {
        bytes.map(|byte| format!("{byte:02x}")).concat()
    }

    /// RFC 4231, cases 1 to 4: keys of at most 32 bytes, which HMAC pads with zeros.
    #[test]
    fn rfc_4231_vectors_through_our_own_function() {
        let counted: Vec<u8> = (1..=25).collect();
        let cases: [(&[u8], &[u8], &str); 4] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &counted,
                &[0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
        ];
        for (short, data, mac) in cases {
            let mut key = [0; 32];
            key[..short.len()].copy_from_slice(short);
            for at in 0..=data.len() {
                let (head, tail) = data.split_at(at);
                assert_eq!(hex(hmac_sha256(&key, &[head, tail])), mac);
            }
        }
    }

    /// RFC 4231, cases 6 and 7, whose 131-byte keys our function does not take: the library does.
    #[test]
    fn rfc_4231_long_keys() {
        for (data, expected) in [
            (
                &b"Test Using Larger Than Block-Size Key - Hash Key First"[..],
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                b"This is a test using a larger than block-size key and a larger than \
                  block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ] {
            let mut mac = Hmac::<Sha256>::new_from_slice(&[0xaa; 131]).unwrap();
            mac.update(data);
            assert_eq!(hex(mac.finalize().into_bytes().into()), expected);
        }
    }

    /// FIPS 180-4, the one-block and the two-block message, and how a length is framed.
    #[test]
    fn sha_256_and_lengths() {
        assert_eq!(
            hex(Hash::default().raw(b"abc").finish()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex(Hash::default()
                .raw(b"abcdbcdecdefdefgefghfghighij")
                .raw(b"hijkijkljklmklmnlmnomnopnopq")
                .finish()),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        );
        assert_eq!(length(&[0; 258]), [0, 0, 1, 2]);
        let framed = Hash::tagged("ab").lp(b"c").finish();
        assert_eq!(
            framed,
            Hash::default().raw(b"\0\0\0\x02ab\0\0\0\x01c").finish()
        );
    }
}
