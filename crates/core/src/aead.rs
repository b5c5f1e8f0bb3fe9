//! AES-256-GCM (NIST SP 800-38D) with a 12-byte nonce and the full 16-byte tag, in place.
//!
//! A room of its own so that the Wycheproof vectors run through exactly what the envelope uses.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};

/// Bytes of the authentication tag.
pub(crate) const TAG_BYTES: usize = 16;

/// Encrypts `buffer` in place and returns the tag; `None` only for lengths beyond GCM's own limit.
pub(crate) fn encrypt(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    buffer: &mut [u8],
) -> Option<[u8; TAG_BYTES]> {
    let cipher = Aes256Gcm::new(key.into());
    let tag = cipher.encrypt_inout_detached(nonce.into(), aad, buffer.into());
    Some(tag.ok()?.into())
}

/// Decrypts `buffer` in place; `None` if the tag does not match, and then `buffer` is not plaintext.
pub(crate) fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Option<()> {
    let cipher = Aes256Gcm::new(key.into());
    cipher
        .decrypt_inout_detached(nonce.into(), aad, buffer.into(), tag.into())
        .ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct File {
        tests: Vec<Vector>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Vector {
        tc_id: u32,
        key: String,
        iv: String,
        aad: String,
        msg: String,
        ct: String,
        tag: String,
        result: String,
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text
            .chars()
            .map(|c| c.to_digit(16).unwrap() as u8)
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    /// The source is named in the file.
    #[test]
    fn wycheproof_vectors() {
        let json = include_str!("../tests/vectors/wycheproof_aes256_gcm.json");
        let file: File = serde_json::from_str(json).unwrap();
        assert_eq!(file.tests.len(), 66);
        for v in file.tests {
            let key = unhex(&v.key).try_into().unwrap();
            let nonce = unhex(&v.iv).try_into().unwrap();
            let tag = unhex(&v.tag).try_into().unwrap();
            let (aad, message, ciphertext) = (unhex(&v.aad), unhex(&v.msg), unhex(&v.ct));
            let mut opened = ciphertext.clone();
            let result = decrypt(&key, &nonce, &aad, &mut opened, &tag);
            if v.result == "valid" {
                assert_eq!((result, &opened), (Some(()), &message), "{}", v.tc_id);
                let mut sealed = message;
                let made = encrypt(&key, &nonce, &aad, &mut sealed).unwrap();
                assert_eq!((sealed, made), (ciphertext, tag), "{}", v.tc_id);
            } else {
                assert_eq!(result, None, "{}", v.tc_id);
            }
        }
    }
}
