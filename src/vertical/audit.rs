//! Is the pattern list the one that its recorded changes make? What `ledger_verify` asks.

use std::collections::BTreeSet;

use super::patterns;
use crate::query::Statement;

static UNRECORDED: Statement = Statement::read(
    c"SELECT COALESCE(p.pattern, c.pattern)
        FROM identity.vertical_patterns p
        FULL JOIN (SELECT DISTINCT ON (n.pattern) n.pattern, n.kind, n.state FROM identity.vertical_pattern_changes n ORDER BY n.pattern, n.change_no DESC) c
          ON c.pattern = p.pattern
       WHERE (p.pattern IS NULL AND c.state <> 'removed') OR c.pattern IS NULL
          OR (p.kind, CASE WHEN p.enabled THEN 'enabled' ELSE 'disabled' END) IS DISTINCT FROM (c.kind, c.state) AND p.pattern IS NOT NULL
       ORDER BY 1",
    &[],
);
static RECORDED: Statement = Statement::read(
    c"SELECT event_digest FROM identity.pii_access_log WHERE accessor_kind = 'pattern_change' AND outcome = 'committed'",
    &[],
);

/// What is wrong with the list: one line a finding. Runs inside a call's snapshot.
pub fn findings(installation: &[u8; 16]) -> Vec<String> {
    let rows = UNRECORDED.run(&mut []);
    let mut findings = (0..rows.count)
        .filter_map(|row| rows.get::<String>(row, 1))
        .map(|pattern| format!("pattern \"{pattern}\" is not what its last change says"))
        .collect::<Vec<_>>();
    let log = RECORDED.run(&mut []);
    let recorded = (0..log.count)
        .filter_map(|row| log.bytes(row, 1).map(<[u8]>::to_vec))
        .collect::<BTreeSet<_>>();
    for (number, digest) in patterns::digests(installation) {
        if digest.is_none_or(|digest| !recorded.contains(digest.as_slice())) {
            findings.push(format!(
                "change {number} of the patterns is not the one that was recorded"
            ));
        }
    }
    findings
}
