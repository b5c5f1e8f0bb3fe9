//! Places in Maryland, for telling the state from the degree.
//!
//! Municipalities and census-designated places of about 5,000 people and more (United States Census, 2020) and some post offices, from general
//! knowledge. A place that is not here is taken for a person's name, so its state for a degree.

/// Names that are places to anybody. Sorted.
#[rustfmt::skip]
pub(super) const MARYLAND: &[&str] = &[
    "aberdeen", "annapolis", "annapolis junction", "aspen hill", "baltimore", "bel air", "beltsville", "berwyn heights", "bethesda", "bladensburg",
    "brooklyn park", "burtonsville", "cabin john", "calverton", "camp springs", "capitol heights", "catonsville", "chesapeake beach", "chestertown",
    "cheverly", "chevy chase", "clarksburg", "clarksville", "cockeysville", "colesville", "college park", "crisfield", "crofton", "crownsville",
    "derwood", "district heights", "dundalk", "edgemere", "edgewater", "edgewood", "eldersburg", "elkridge", "elkton", "ellicott city", "fallston",
    "federalsburg", "forest hill", "forestville", "fort meade", "fort washington", "frostburg", "gaithersburg", "germantown", "glen burnie",
    "glenn dale", "greenbelt", "hagerstown", "halethorpe", "havre de grace", "hillcrest heights", "hunt valley", "hyattsville", "jessup",
    "joppatowne", "la plata", "landover", "langley park", "lansdowne", "leonardtown", "lexington park", "linthicum", "linthicum heights", "lochearn",
    "lutherville", "middle river", "milford mill", "mitchellville", "montgomery village", "mount airy", "mount rainier", "new carrollton",
    "north bethesda", "north potomac", "ocean city", "ocean pines", "odenton", "owings mills", "oxon hill", "parkville", "perry hall", "perryville",
    "pikesville", "pocomoke city", "poolesville", "prince frederick", "princess anne", "randallstown", "redland", "reisterstown", "rising sun",
    "riverdale", "riverdale park", "rockville", "rosedale", "rossville", "saint charles", "seat pleasant", "severn", "severna park", "silver spring",
    "snow hill", "south laurel", "st charles", "stevensville", "suitland", "sykesville", "takoma park", "taneytown", "temple hills", "thurmont",
    "timonium", "towson", "travilah", "upper marlboro", "waldorf", "walkersville", "white marsh", "white oak", "windsor mill",
];

/// Names that people have too, or that places elsewhere have. Sorted.
#[rustfmt::skip]
pub(super) const MARYLAND_OR_SURNAME: &[&str] = &[
    "adelphi", "arbutus", "arnold", "berlin", "bowie", "brunswick", "california", "cambridge", "carney", "centreville", "clinton", "columbia",
    "cumberland", "damascus", "denton", "easton", "essex", "ferndale", "frederick", "fulton", "hampstead", "hanover", "joppa", "kensington",
    "lanham", "largo", "laurel", "manchester", "middletown", "north east", "oakland", "olney", "parole", "pasadena", "potomac", "salisbury",
    "savage", "sparks", "urbana", "westminster", "wheaton", "woodlawn",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_apart() {
        assert!(MARYLAND.is_sorted() && MARYLAND_OR_SURNAME.is_sorted());
        assert!(
            !MARYLAND
                .iter()
                .any(|place| MARYLAND_OR_SURNAME.contains(place))
        );
    }
}
