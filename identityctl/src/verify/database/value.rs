//! Values of a row as a server sent them: NULL where none should be, too short, too long, not UTF-8 are all refused, and nothing is
//! allocated by what they say of their own size.

use std::error::Error;

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

/// Microseconds between the Unix epoch and PostgreSQL's (2000-01-01).
const UNIX_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The bytes of a value; `None` is NULL. Its type was compared when the statement was prepared.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(bytes)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A type that a value can be read as.
pub trait Value<'a>: Sized {
    fn read(bytes: &'a [u8]) -> Option<Self>;
}

/// A value that must be there. `None` if it is NULL or cannot be read.
pub fn get<'a, T: Value<'a>>(row: &'a Row, column: usize) -> Option<T> {
    get_nullable(row, column)?
}

/// A value that may be NULL. `None` if it cannot be read.
pub fn get_nullable<'a, T: Value<'a>>(row: &'a Row, column: usize) -> Option<Option<T>> {
    match row.try_get::<_, Raw<'a>>(column).ok()?.0 {
        None => Some(None),
        Some(bytes) => T::read(bytes).map(Some),
    }
}

macro_rules! integers {
    ($($number:ty),+) => {$(
        impl Value<'_> for $number {
            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_be_bytes)
            }
        }
    )+};
}
integers!(i16, i32, i64);

impl Value<'_> for bool {
    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<'a> Value<'a> for &'a str {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        str::from_utf8(bytes).ok()
    }
}

impl<'a> Value<'a> for &'a [u8] {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        Some(bytes)
    }
}

/// Bytes of a fixed length: a digest, a UUID, a salt.
impl<const N: usize> Value<'_> for [u8; N] {
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

/// An integer column that holds no negative numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Natural(i64);

impl Value<'_> for Natural {
    fn read(bytes: &[u8]) -> Option<Self> {
        i64::read(bytes).filter(|number| *number >= 0).map(Self)
    }
}

impl Natural {
    pub const fn u64(self) -> u64 {
        self.0.cast_unsigned()
    }
}

/// A `timestamptz` as microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub i64);

impl Value<'_> for Moment {
    fn read(bytes: &[u8]) -> Option<Self> {
        // PostgreSQL's infinities are the ends of the range: the earlier one is no moment either.
        let micros = i64::read(bytes).filter(|micros| *micros != i64::MIN)?;
        micros.checked_add(UNIX_EPOCH_MICROS).map(Self)
    }
}

/// The elements of an array of one dimension without NULLs.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a> {
    elements: &'a [u8],
}

/// Dimensions, flags, element type; then size and lower bound of each dimension.
const ARRAY_HEADER_BYTES: usize = 12;

impl<'a> Value<'a> for Array<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(ARRAY_HEADER_BYTES)?;
        let dimensions = i32::read(header.get(..4)?)?;
        let (size, elements) = match dimensions {
            0 => (0, rest),
            1 => (i32::read(rest.get(..4)?)?, rest.get(8..)?),
            _ => return None,
        };
        let array = Self { elements };
        let mut count = 0;
        for element in array {
            element?;
            count += 1;
        }
        (count == size).then_some(array)
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Option<&'a [u8]>;
    type IntoIter = Elements<'a>;

    fn into_iter(self) -> Elements<'a> {
        Elements(self.elements)
    }
}

/// Goes over the elements; `None` where one is NULL or cut off.
pub struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let element = self.0.split_at_checked(4).and_then(|(length, rest)| {
            let length = usize::try_from(i32::read(length)?).ok()?;
            rest.split_at_checked(length)
        });
        self.0 = element.map_or(&[], |(_, rest)| rest);
        Some(element.map(|(element, _)| element))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dimensions: &[i32], elements: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((dimensions.len() as i32).to_be_bytes());
        bytes.extend([0; 8]);
        for size in dimensions {
            bytes.extend(size.to_be_bytes());
            bytes.extend(1i32.to_be_bytes());
        }
        for element in elements {
            bytes.extend(element.map_or(-1, |e| e.len() as i32).to_be_bytes());
            bytes.extend(element.unwrap_or_default());
        }
        bytes
    }

    fn elements(bytes: &[u8]) -> Option<Vec<&[u8]>> {
        Array::read(bytes)?.into_iter().collect()
    }

    #[test]
    fn arrays() {
        assert_eq!(elements(&array(&[], &[])), Some(vec![]));
        assert_eq!(elements(&array(&[0], &[])), Some(vec![]));
        assert_eq!(
            elements(&array(&[2], &[Some(b"ab"), Some(b"")])),
            Some(vec![&b"ab"[..], b""])
        );
    }

    #[test]
    fn hostile_arrays_are_refused_and_allocate_nothing() {
        let good = array(&[2], &[Some(b"ab"), Some(b"c")]);
        for length in 0..good.len() {
            assert_eq!(elements(&good[..length]), None, "{length}");
        }
        for bytes in [
            array(&[i32::MAX], &[]),
            array(&[-1], &[]),
            array(&[1], &[None]),
            array(&[1], &[Some(b"a"), Some(b"b")]),
            array(&[1, 1], &[Some(b"a")]),
            array(&[], &[Some(b"a")]),
        ] {
            assert_eq!(elements(&bytes), None, "{bytes:?}");
        }
        let mut long = array(&[1], &[Some(b"a")]);
        long[20..24].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(elements(&long), None);
    }

    #[test]
    fn numbers_and_moments() {
        assert_eq!(i64::read(&[0xff; 8]), Some(-1));
        assert_eq!(i64::read(&[0; 4]), None);
        assert_eq!(Natural::read(&[0xff; 8]), None);
        assert_eq!(Natural::read(&7i64.to_be_bytes()), Some(Natural(7)));
        assert_eq!(
            Moment::read(&0i64.to_be_bytes()),
            Some(Moment(UNIX_EPOCH_MICROS))
        );
        for never in [i64::MIN, i64::MAX, i64::MAX - UNIX_EPOCH_MICROS + 1] {
            assert_eq!(Moment::read(&never.to_be_bytes()), None);
        }
        assert_eq!(bool::read(&[2]), None);
        assert_eq!(<&str>::read(&[0xff]), None);
        assert_eq!(<[u8; 2]>::read(&[1, 2, 3]), None);
    }
}
