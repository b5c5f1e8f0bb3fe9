//! A `pii` argument: the fields of one subject, checked, then sealed before any tuple is formed.

use identity_core::envelope::{self, FieldContext, MAX_VALUE_BYTES};
use identity_core::field::{Field, FieldSet};
use identity_core::reason::Reason;
use pgrx::{IntoDatum, pg_sys};

use crate::clock;
use crate::json::{self, Value};
use crate::keys::region::Keys;

/// The fields given, each at its place; the values still lie in the argument.
pub struct Pii<'a> {
    given: [Option<&'a str>; Field::ALL.len()],
    /// The fields that were null.
    nulls: FieldSet,
}

impl<'a> Pii<'a> {
    pub const NONE: Self = Self {
        given: [None; Field::ALL.len()],
        nulls: FieldSet::EMPTY,
    };

    /// Reads a JSON object of known fields with texts of 1 to 1024 bytes; JSON null means not collected.
    pub fn parse(argument: pg_sys::Datum) -> Result<Self, Reason> {
        Self::of(json::object(argument))
    }

    /// The same from the members of an object.
    pub fn of(members: Option<Vec<(&'a str, Value<'a>)>>) -> Result<Self, Reason> {
        let mut pii = Self::NONE;
        for (key, value) in members.ok_or(Reason::BadArgument)? {
            let field = Field::parse(key).ok_or(Reason::UnknownField)?;
            let place = pii
                .given
                .get_mut(field as usize)
                .ok_or(Reason::UnknownField)?;
            match value {
                Value::Null => {
                    pii.nulls.insert(field);
                }
                Value::Text(text) if (1..=MAX_VALUE_BYTES).contains(&text.len()) => {
                    *place = Some(text)
                }
                _ => return Err(Reason::BadArgument),
            }
        }
        Ok(pii)
    }

    /// The fields that have a value.
    pub fn fields(&self) -> FieldSet {
        self.with_values(FieldSet::EMPTY)
    }

    /// The fields that were named, with a value or null.
    pub fn named(&self) -> FieldSet {
        self.with_values(self.nulls)
    }

    fn with_values(&self, mut set: FieldSet) -> FieldSet {
        for (field, _) in Field::ALL
            .iter()
            .zip(&self.given)
            .filter(|(_, value)| value.is_some())
        {
            set.insert(*field);
        }
        set
    }

    /// The ciphertext columns, in the order of `Field`; what was not given is `None`.
    pub fn seal(
        &self,
        keys: &Keys,
        candidate: &[u8; 16],
        erasure_generation: u32,
    ) -> Result<Vec<Option<pg_sys::Datum>>, Reason> {
        let sealed = Field::ALL.iter().zip(&self.given).map(|(field, value)| {
            let context = FieldContext {
                installation: &keys.installation,
                candidate,
                field: *field,
                erasure_generation,
            };
            match value {
                None => Ok(None),
                Some(value) => {
                    envelope::seal(&keys.dek, &clock::random(), &context, value.as_bytes())
                        .map(IntoDatum::into_datum)
                        .map_err(|_| Reason::BadArgument)
                }
            }
        });
        sealed.collect()
    }
}
