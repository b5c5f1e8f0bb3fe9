//! The plaintext inside an envelope: u32 big-endian length, value, zeros up to a multiple of 32.
//!
//! The tag was verified before a body comes here, so a body that the writer would not produce is the
//! work of a key holder. It is refused all the same: there is one way to write a value.

use zeroize::Zeroizing;

use crate::framing::length;

/// Longest value that can be sealed; the shortest is one byte.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Bodies are a multiple of this: what a reader of the ciphertext learns about the length.
pub(crate) const PAD_BYTES: usize = 32;

const LENGTH_BYTES: usize = 4;

/// Bytes of the body of a value of this length.
pub(crate) const fn padded(value_bytes: usize) -> usize {
    (LENGTH_BYTES + value_bytes).next_multiple_of(PAD_BYTES)
}

/// Appends the body of a value.
pub(crate) fn append(out: &mut Vec<u8>, value: &[u8]) {
    let end = out.len() + padded(value.len());
    out.extend_from_slice(&length(value));
    out.extend_from_slice(value);
    out.resize(end, 0);
}

/// The value of a body; `None` unless the body is what [`append`] writes for it.
pub(crate) fn strip(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (length, rest) = body.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (value, zeros) = rest.split_at_checked(length)?;
    let written = (1..=MAX_VALUE_BYTES).contains(&length)
        && padded(length) == body.len()
        && zeros.iter().all(|byte| *byte == 0);
    written.then(|| Zeroizing::new(value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, value);
        out
    }

    #[test]
    fn every_length_comes_back() {
        for length in 1..=MAX_VALUE_BYTES {
            let value = vec![0xff; length];
            let body = body(&value);
            assert_eq!(body.len(), (4 + length).div_ceil(32) * 32);
            assert_eq!(*strip(&body).unwrap(), value);
        }
    }

    #[test]
    fn what_the_writer_would_not_write_is_refused() {
        let good = body(b"value");
        for at in 9..32 {
            let mut dirty = good.clone();
            dirty[at] = 1;
            assert!(strip(&dirty).is_none(), "padding at {at}");
        }
        assert!(strip(&[good.clone(), vec![0; 32]].concat()).is_none());
        assert!(strip(&body(b"")).is_none());
        assert!(strip(&body(&[1; MAX_VALUE_BYTES + 1])).is_none());
        for length in [29, 33, 1 << 16, u32::MAX] {
            let mut long = good.clone();
            long[..4].copy_from_slice(&u32::to_be_bytes(length));
            assert!(strip(&long).is_none(), "length {length}");
        }
        assert!((0..32).all(|end| strip(&good[..end]).is_none()));
    }
}
