//! Where a ciphertext belongs. One that was moved elsewhere does not open.

use crate::field::Field;
use crate::framing::length;

/// A place that an envelope is bound to. The two kinds of it are the only ones.
pub trait Context: sealed::Sealed {
    /// The bytes that key, commitment and tag depend on.
    fn bytes(&self) -> Vec<u8>;
}

mod sealed {
    pub trait Sealed {}
}

/// A field of a subject.
#[derive(Clone, Copy)]
pub struct FieldContext<'a> {
    /// Installation id, 16 raw bytes.
    pub installation: &'a [u8; 16],
    /// Subject id, 16 raw bytes.
    pub candidate: &'a [u8; 16],
    /// The field.
    pub field: Field,
    /// The subject's `erasure_generation`.
    pub erasure_generation: u32,
}

/// What a subject's biometrics were classified as. No field of a subject has this name, so neither opens as the other.
#[derive(Clone, Copy)]
pub struct ClassificationsContext<'a> {
    /// Installation id, 16 raw bytes.
    pub installation: &'a [u8; 16],
    /// Subject id, 16 raw bytes.
    pub candidate: &'a [u8; 16],
    /// The subject's `erasure_generation`.
    pub erasure_generation: u32,
}

const CLASSIFICATIONS: &str = "biometric_classifications";

impl sealed::Sealed for FieldContext<'_> {}
impl sealed::Sealed for ClassificationsContext<'_> {}

impl Context for FieldContext<'_> {
    fn bytes(&self) -> Vec<u8> {
        bytes(
            self.installation,
            self.candidate,
            self.field.name(),
            self.erasure_generation,
        )
    }
}

impl Context for ClassificationsContext<'_> {
    fn bytes(&self) -> Vec<u8> {
        bytes(
            self.installation,
            self.candidate,
            CLASSIFICATIONS,
            self.erasure_generation,
        )
    }
}

fn bytes(
    installation: &[u8; 16],
    candidate: &[u8; 16],
    label: &str,
    erasure_generation: u32,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let mut lp = |bytes: &[u8], fixed: &[u8]| {
        out.extend_from_slice(&length(bytes));
        out.extend_from_slice(bytes);
        out.extend_from_slice(fixed);
    };
    lp(b"identity_pgx/field/v1", installation);
    lp(b"subjects", candidate);
    lp(label.as_bytes(), &erasure_generation.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{open, seal};
    use crate::key::DataKey;

    #[test]
    fn classifications_open_where_they_belong_and_nowhere_else() {
        let key = DataKey::new(1, &[7; 32]);
        let here = ClassificationsContext {
            installation: &[1; 16],
            candidate: &[2; 16],
            erasure_generation: 3,
        };
        let envelope = seal(&key, &[9; 32], &here, b"{}").unwrap();
        assert_eq!(*open(&key, &here, &envelope).unwrap(), b"{}");
        let elsewhere = [
            ClassificationsContext {
                installation: &[4; 16],
                ..here
            },
            ClassificationsContext {
                candidate: &[4; 16],
                ..here
            },
            ClassificationsContext {
                erasure_generation: 4,
                ..here
            },
        ];
        assert!(
            elsewhere
                .iter()
                .all(|there| open(&key, there, &envelope).is_err())
        );
        for field in Field::ALL {
            let field = FieldContext {
                installation: here.installation,
                candidate: here.candidate,
                field: *field,
                erasure_generation: here.erasure_generation,
            };
            assert!(open(&key, &field, &envelope).is_err());
            let of_field = seal(&key, &[9; 32], &field, b"{}").unwrap();
            assert!(open(&key, &here, &of_field).is_err());
        }
    }
}
