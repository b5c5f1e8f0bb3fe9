//! What decides reads must be what was put on the chain: guards, purposes, revoked logins, patterns and verticals.

use std::collections::BTreeMap;

use super::report::Report;
use crate::keys::region::Keys;
use crate::ledger::{guards, policy};
use crate::purpose::content;
use crate::query::Statement;
use crate::vertical::audit;

static PURPOSE_EVENTS: Statement = Statement::read(
    c"SELECT purpose_token, purpose_version, event_digest FROM identity.pii_access_log WHERE accessor_kind = 'purpose_change' AND outcome = 'committed'",
    &[],
);
static UNVERSIONED: Statement = Statement::read(
    c"SELECT d.purpose_token FROM identity.purpose_definitions d
       WHERE NOT EXISTS (SELECT FROM identity.purpose_versions v WHERE v.purpose_token = d.purpose_token
         AND v.version = (SELECT pg_catalog.max(n.version) FROM identity.purpose_versions n WHERE n.purpose_token = d.purpose_token)
         AND GREATEST(d.effective_at, v.changed_at) = v.effective_at
         AND (d.description, d.allowed_fields, d.auth_tier, d.rate_limit_qps, d.daily_volume_cap, d.allowed_roles, d.accepted_consent, d.phi_access)
           IS NOT DISTINCT FROM (v.description, v.allowed_fields, v.auth_tier, v.rate_limit_qps, v.daily_volume_cap, v.allowed_roles, v.accepted_consent, v.phi_access))",
    &[],
);
static UNREVOKED: Statement = Statement::read(
    c"SELECT DISTINCT l.purpose_token FROM identity.pii_access_log l
       WHERE l.accessor_kind = 'purpose_revoke' AND l.outcome = 'committed' AND NOT EXISTS (
             SELECT FROM identity.purpose_revocations r WHERE r.purpose_token = l.purpose_token AND r.revoked_version >= l.purpose_version)",
    &[],
);

pub fn guards(report: &mut Report) {
    for table in guards::unguarded() {
        report.finding(
            "guards",
            &format!("{table} has lost its append-only trigger or its row-level security"),
        );
    }
    for role in guards::opened_roles() {
        report.finding(
            "guards",
            &format!("{role} has members, memberships or attributes"),
        );
    }
    report.close("guards", "tables and roles have their guards");
}

/// The patterns that texts are searched for, and the verticals of subjects, must be what was recorded of them.
pub fn verticals(keys: &Keys, report: &mut Report) {
    let checks = [
        (
            "patterns",
            audit::patterns(&keys.installation),
            "patterns and their changes agree",
        ),
        (
            "verticals",
            audit::verticals(&keys.installation),
            "subjects, their histories and the log agree",
        ),
    ];
    for (check, findings, good) in checks {
            for finding in findings {
            report.finding(check, &finding);
        }
        report.close(check, good);
    }
}

/// What the DBA's table says must be what reads are decided by, and that must be what was put on the chain.
pub fn purposes(keys: &Keys, full: bool, report: &mut Report) {
    let unversioned = UNVERSIONED.run(&mut []);
    for token in (0..unversioned.count).filter_map(|row| unversioned.get::<&str>(row, 1)) {
        report.finding(
            "purposes",
            &format!("{token}: its definition is not its newest version"),
        );
    }
    if full {
        let events = PURPOSE_EVENTS.run(&mut []);
        let recorded = (0..events.count)
            .filter_map(|row| {
                Some((
                    (events.get::<String>(row, 1)?, events.get::<i32>(row, 2)?),
                    events.get::<Vec<u8>>(row, 3)?,
                ))
            })
            .collect::<BTreeMap<_, _>>();
        for (token, version) in content::all() {
            let digest = content::digest(&keys.installation, &token, version);
            let place = (token, version);
            if digest.is_none_or(|digest| recorded.get(&place).is_none_or(|known| known != &digest))
            {
                report.finding(
                    "purposes",
                    &format!(
                        "{} version {version}: its content is not what was recorded",
                        place.0
                    ),
                );
            }
        }
    }
    if full {
        let lost = UNREVOKED.run(&mut []);
        for token in (0..lost.count).filter_map(|row| lost.get::<&str>(row, 1)) {
            report.finding(
                "purposes",
                &format!("{token}: a revocation that was recorded is not there"),
            );
        }
        for wrong in policy::approvals(&keys.installation) {
            report.finding("purposes", &wrong);
        }
    }
    report.close("purposes", "definitions, versions, approvals and records agree");
}

/// Which logins are shut out must be what was put on the chain.
pub fn callers(keys: &Keys, report: &mut Report) {
    for wrong in policy::callers(&keys.installation) {
        report.finding("callers", &wrong);
    }
    report.close("callers", "revoked logins and records agree");
}
