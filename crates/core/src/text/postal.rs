//! MD the state, or MD the doctor? "Jane Roe, MD" and "Baltimore, MD" have the same shape, so what stands around it has to tell.

use super::places::{MARYLAND, MARYLAND_OR_SURNAME};
use super::words::Words;

/// Codes of the United States Postal Service: states, the district, territories.
const STATES: &[u8] = b"al ak az ar ca co ct de dc fl ga hi id il in ia ks ky la me md ma mi mn ms mo mt ne nv nh nj nm ny nc nd oh ok or pa ri sc sd tn tx ut vt \
                        va wa wv wi wy pr gu vi as mp ";
/// States near Maryland whose code is no degree too: "DC, MD, VA" is a region, "MD, MS" is a doctor of two kinds.
const NEIGHBOURS: [&[u8]; 5] = [b"dc", b"va", b"de", b"wv", b"nj"];
/// Before a code they say that a place follows.
const PLACE_BEFORE: [&[u8]; 6] = [b"in", b"from", b"near", b"county", b"maryland", b"counties"];
/// After a code: a country, or a numbered road.
const PLACE_AFTER: [&[u8]; 4] = [b"usa", b"us", b"route", b"rte"];
/// The longest name of a place has three words.
const MAX_PLACE_WORDS: usize = 3;

/// Whether the word with this number is the code of a state.
pub(super) fn is_state(words: &Words, number: usize) -> bool {
    let Some((code, _)) = words.get(number) else {
        return false;
    };
    if !(code.len() == 2
        && STATES
            .split(|byte| *byte == b' ')
            .any(|state| state == code))
    {
        return false;
    }
    let before = number.checked_sub(1).and_then(|at| words.get(at));
    let after = number.checked_add(1).and_then(|at| words.get(at));
    let followed = after.is_some_and(|(next, word)| {
        is_zip_or_road(next) || PLACE_AFTER.contains(&next) || (word.upper && is_neighbour(next))
    });
    let preceded = before.is_some_and(|(last, word)| {
        PLACE_BEFORE.contains(&last) || (word.upper && is_neighbour(last))
    });
    followed
        || preceded
        || (code == b"md" && (1..=MAX_PLACE_WORDS).any(|n| place(words, number, n)))
}

/// A ZIP code begins with five digits; a state road has at most three.
fn is_zip_or_road(word: &[u8]) -> bool {
    matches!(word.len(), 1..=3 | 5) && word.iter().all(u8::is_ascii_digit)
}

fn is_neighbour(word: &[u8]) -> bool {
    NEIGHBOURS.contains(&word)
}

/// Whether the `count` words before this one are a place in Maryland. Where a place is a family name as well, it counts as a
/// place only if no other name stands right before it: "Jane Arnold, MD" is a person, "12 Main St, Arnold, MD" is not.
fn place(words: &Words, number: usize, count: usize) -> bool {
    let Some(first) = number.checked_sub(count) else {
        return false;
    };
    let name = words.between(first, number);
    let listed = |list: &[&str]| {
        list.binary_search_by(|place| place.as_bytes().cmp(name))
            .is_ok()
    };
    listed(MARYLAND) || (listed(MARYLAND_OR_SURNAME) && !follows_a_name(words, first))
}

fn follows_a_name(words: &Words, first: usize) -> bool {
    let spaced = words.get(first).is_some_and(|(_, word)| word.spaced);
    let before = first.checked_sub(1).and_then(|at| words.get(at));
    spaced && before.is_some_and(|(_, word)| word.capital)
}
