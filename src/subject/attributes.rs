//! An `attributes` argument: what is known of a subject beside its fields.

use identity_core::reason::Reason;
use identity_core::vocabulary::Vertical;
use pgrx::pg_sys;

use crate::json::{self, Value};

/// Three years: the longest that a biometric retention schedule may run, and the default for the rest.
const DEFAULT_RETENTION_DAYS: i32 = 1095;
const MAX_RETENTION_DAYS: i32 = 36_500;
const MAX_TEXT_BYTES: usize = 200;

pub struct Attributes<'a> {
    pub vertical: Vertical,
    pub retention_period_days: i32,
    pub eu_resident: bool,
    pub lawful_basis: Option<&'a str>,
    pub transfer_mechanism: Option<&'a str>,
}

impl<'a> Attributes<'a> {
    pub const NONE: Self = Self {
        vertical: Vertical::Unknown,
        retention_period_days: DEFAULT_RETENTION_DAYS,
        eu_resident: false,
        lawful_basis: None,
        transfer_mechanism: None,
    };

    /// Reads a JSON object of known keys. A caller may call a subject healthcare or leave it unknown, nothing that opens a route.
    pub fn parse(argument: pg_sys::Datum) -> Result<Self, Reason> {
        Self::of(json::object(argument))
    }

    /// The same from the members of an object.
    pub fn of(members: Option<Vec<(&'a str, Value<'a>)>>) -> Result<Self, Reason> {
        let mut attributes = Self::NONE;
        for (key, value) in members.ok_or(Reason::BadArgument)? {
            match (key, value) {
                ("vertical", Value::Text("unknown")) => attributes.vertical = Vertical::Unknown,
                ("vertical", Value::Text("healthcare")) => {
                    attributes.vertical = Vertical::Healthcare
                }
                ("retention_period_days", Value::Integer(days @ 1..=MAX_RETENTION_DAYS)) => {
                    attributes.retention_period_days = days
                }
                ("eu_resident", Value::Bool(resident)) => attributes.eu_resident = resident,
                ("lawful_basis", Value::Text(text)) if bounded(text) => {
                    attributes.lawful_basis = Some(text)
                }
                ("transfer_mechanism", Value::Text(text)) if bounded(text) => {
                    attributes.transfer_mechanism = Some(text)
                }
                _ => return Err(Reason::BadArgument),
            }
        }
        Ok(attributes)
    }
}

/// Whether a text attribute has a length it may have.
pub fn bounded(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len())
}
