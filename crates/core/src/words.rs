//! One macro: an enum whose members are the words of a closed list.
//!
//! Without it the word, the parser and the number of each member would be written three times and
//! drift apart; a word list is exactly one table here.

/// Defines a `#[repr(u8)]` enum with its words: `ALL`, a method from member to word (named by the
/// caller, `as_str` for most), `parse` from word to member, `from_u8` from number to member.
macro_rules! words {
    (
        $(#[$outer:meta])*
        pub enum $name:ident : $word:ident {
            $( $(#[$inner:meta])* $member:ident = $text:literal, )+
        }
    ) => {
        $(#[$outer])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$inner])* $member, )+ }

        impl $name {
            /// Every member, in the order of its number.
            pub const ALL: &'static [Self] = &[$( Self::$member, )+];

            /// The word, as it stands in rows and in the SQL contract.
            #[must_use]
            pub const fn $word(self) -> &'static str {
                match self { $( Self::$member => $text, )+ }
            }

            /// The member with exactly this word (case counts), or `None`.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $( $text => Some(Self::$member), )+ _ => None }
            }

            /// The member with this number (`member as u8`), or `None`.
            #[must_use]
            pub fn from_u8(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::key::KeyKind;
    use crate::text::Kind;
    use crate::{
        AccessorKind, ApprovalPolicy, AuthTier, ChainKind, ConsentKind, ConsentStatus,
        DeliveryTrouble, Field, KeyState, NoticeKind, Outcome, Reason, RotationReason, Route,
        Vertical, Zone,
    };

    macro_rules! round_trip {
        ($($name:ident . $word:ident : $count:literal),+ $(,)?) => {$(
            assert_eq!($name::ALL.len(), $count, stringify!($name));
            for (number, member) in $name::ALL.iter().enumerate() {
                assert_eq!(*member as usize, number);
                assert_eq!($name::from_u8(number as u8), Some(*member));
                assert_eq!($name::parse(member.$word()), Some(*member));
                assert_eq!($name::parse(&member.$word().to_uppercase()), None);
                assert_eq!($name::parse(&format!("{} ", member.$word())), None);
            }
            assert_eq!($name::from_u8($count), None);
            assert_eq!($name::from_u8(255), None);
            assert_eq!($name::parse(""), None);
        )+};
    }

    #[test]
    fn every_word_comes_back() {
        round_trip!(
            Field.name: 6, Vertical.as_str: 5, Route.as_str: 2, ConsentStatus.as_str: 5,
            Zone.as_str: 3, AuthTier.as_str: 2, Outcome.as_str: 3, ChainKind.as_str: 2,
            AccessorKind.as_str: 36, Reason.code: 40, KeyKind.as_str: 4,
            ConsentKind.as_str: 3, ApprovalPolicy.as_str: 3, Kind.as_str: 4,
            RotationReason.as_str: 4, KeyState.as_str: 4, NoticeKind.as_str: 9,
            DeliveryTrouble.as_str: 11,
        );
    }
}
