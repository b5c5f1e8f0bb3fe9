//! The six fields of a subject, and sets of them.

use crate::words::words;

words! {
    /// A field of a subject that is kept as ciphertext.
    pub enum Field : name {
        /// Full name.
        Name = "name",
        /// E-mail address.
        Email = "email",
        /// Telephone number.
        Phone = "phone",
        /// Postal address.
        Address = "address",
        /// Social security number.
        Ssn = "ssn",
        /// Date of birth.
        Dob = "dob",
    }
}

/// Alphabetical by name: the order in which a set is listed in rows and leaves.
const ALPHABETICAL: [Field; 6] = [
    Field::Address,
    Field::Dob,
    Field::Email,
    Field::Name,
    Field::Phone,
    Field::Ssn,
];

/// A set of fields: one bit for each, bit `n` is the field with number `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSet(u8);

impl FieldSet {
    /// No field.
    pub const EMPTY: Self = Self(0);

    /// The set with these bits, or `None` if a bit beyond the six fields is on.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < 1 << ALPHABETICAL.len() {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The bits of the set.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Adds a field; `false` if it was already in, which in a list of fields is a duplicate.
    pub fn insert(&mut self, field: Field) -> bool {
        let before = *self;
        self.0 |= 1 << field as u8;
        before != *self
    }

    /// Whether the field is in the set.
    #[must_use]
    pub const fn contains(self, field: Field) -> bool {
        self.0 & 1 << field as u8 != 0
    }

    /// Whether the set has no field.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many fields are in the set, 0 to 6.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether every field of this set is in `other`.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The fields in alphabetical order of their names.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        ALPHABETICAL
            .into_iter()
            .filter(move |field| self.contains(*field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_fields_behaves() {
        for bits in 0..64u8 {
            let set = FieldSet::from_bits(bits).unwrap();
            assert_eq!(set.bits(), bits);
            assert_eq!(set.is_empty(), bits == 0);
            let listed: Vec<_> = set.iter().map(Field::name).collect();
            assert!(listed.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(listed.len(), set.len());
            for field in Field::ALL {
                assert_eq!(set.contains(*field), listed.contains(&field.name()));
                let mut grown = set;
                assert_eq!(grown.insert(*field), !set.contains(*field));
                assert!(grown.contains(*field) && set.is_subset_of(grown));
                assert_eq!(grown.is_subset_of(set), set.contains(*field));
            }
        }
    }

    #[test]
    fn bits_beyond_the_fields_are_refused() {
        assert!((64..=255).all(|bits| FieldSet::from_bits(bits).is_none()));
        assert_eq!(FieldSet::EMPTY, FieldSet::default());
        assert!(FieldSet::EMPTY.is_empty());
    }
}
