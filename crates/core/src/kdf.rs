//! HKDF-SHA-256 (RFC 5869), as the envelope uses it: one extract, outputs of 32 bytes.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The pseudorandom key of one message.
pub(crate) struct Prk(Hkdf<Sha256>);

impl Prk {
    /// `HKDF-Extract(salt, ikm)`.
    pub(crate) fn extract(salt: &[u8], ikm: &[u8]) -> Self {
        Self(Hkdf::new(Some(salt), ikm))
    }

    /// `HKDF-Expand(PRK, info, 32)`, info being the concatenated parts. `None` cannot happen for
    /// this length; the caller turns it into its one error.
    pub(crate) fn expand(&self, info: &[&[u8]]) -> Option<Zeroizing<[u8; 32]>> {
        let mut out = Zeroizing::new([0u8; 32]);
        self.0.expand_multi_info(info, out.as_mut()).ok()?;
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, appendix A.1 to A.3. Its outputs are longer than 32 bytes; the length asked for
    /// only says where to cut, so the first 32 bytes are the vector.
    #[test]
    fn rfc_5869_vectors() {
        let count = |from: u8, to: u8| (from..to).collect::<Vec<u8>>();
        for (ikm, salt, info, okm) in [
            (
                vec![0x0b; 22],
                count(0, 13),
                count(0xf0, 0xfa),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
            ),
            (
                count(0, 0x50),
                count(0x60, 0xb0),
                (0xb0..=0xff).collect(),
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c",
            ),
            (
                vec![0x0b; 22],
                vec![],
                vec![],
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d",
            ),
        ] {
            let prk = Prk::extract(&salt, &ikm);
            let (head, tail) = info.split_at(info.len() / 3);
            let out = prk.expand(&[head, tail]).unwrap();
            assert_eq!(out.map(|byte| format!("{byte:02x}")).concat(), okm);
        }
    }
}
