//! Whether the functions that keys pass through are the extension's own. A superuser can put another one in their place, which would show a public
//! key of his own.

use tokio_postgres::Client;

use super::refusal::refusal;
use crate::rows;
use crate::trouble::{Kind, Trouble};

/// Every function that we call when we bring keys. There must be no second one of the same name: a call could mean it.
const NAMES: [&str; 4] = ["key_challenge", "key_enrol", "key_load", "key_status"];

/// Any more than one of each is refused.
const MAX_DOUBLES: usize = 16;

/// What must hold of each, and where it lies: a function that was replaced and put back lies elsewhere.
///
/// The condition on the settings refuses one more (a search_path of the attacker's) as well as one less.
const FUNCTIONS: &str = "
    SELECT p.proname::pg_catalog.text,
           p.oid, p.ctid::pg_catalog.text OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) p.xmin::pg_catalog.text,
           o.rolname OPERATOR(pg_catalog.=) 'identity_keeper'
       AND l.lanname OPERATOR(pg_catalog.=) 'c'
       AND p.prosrc OPERATOR(pg_catalog.=) p.proname::pg_catalog.text
       AND p.probin OPERATOR(pg_catalog.=) '$libdir/identity_pgx'
       AND p.prosecdef AND NOT p.proisstrict
       AND p.prokind OPERATOR(pg_catalog.=) 'f' AND p.provolatile OPERATOR(pg_catalog.=) 'v'
       AND p.prosupport OPERATOR(pg_catalog.=) 0::pg_catalog.oid
       AND p.proconfig OPERATOR(pg_catalog.=) '{\"search_path=pg_catalog, pg_temp\",row_security=on}'::pg_catalog.text[]
       AND EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
                    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid
                      AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                      AND d.deptype OPERATOR(pg_catalog.=) 'e' AND e.extname OPERATOR(pg_catalog.=) 'identity_pgx')
      FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
      JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) p.proowner
      JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
     WHERE n.nspname OPERATOR(pg_catalog.=) 'identity' AND p.proname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[])
     ORDER BY p.proname";

/// Where the functions lie in the catalog.
#[derive(PartialEq, Eq)]
pub(super) struct Functions(Vec<(u32, String)>);

pub(super) async fn genuine(database: &Client) -> Result<Functions, Trouble> {
    let names: &[&str] = &NAMES;
    let rows = rows::at_most(MAX_DOUBLES, database, FUNCTIONS, &[&names]).await;
    // Of too many, none is the extension's.
    let rows = rows.map_err(refusal)?.unwrap_or_default();
    let mut found = Vec::new();
    for (number, expected) in NAMES.iter().enumerate() {
        let row = rows.get(number);
        let genuine = row.is_some_and(|row| {
            row.get::<_, &str>(0) == *expected && row.get::<_, Option<bool>>(3) == Some(true)
        });
        let (true, Some(row), true) = (genuine, row, rows.len() == NAMES.len()) else {
            let text = format!(
                "identity.{expected} is not the extension's function: nothing is sent to this database"
            );
            return Err(Trouble::new(Kind::Untrue, text));
        };
        found.push((row.get(1), row.get(2)));
    }
    Ok(Functions(found))
}
