//! Every product of the enums, against the rules written down once more in other words.

use identity_core::*;

use crate::support::fields;

const NOBODY: Purpose = Purpose {
    version: 1,
    tier: AuthTier::Service,
    revoked: false,
    caller_allowed: true,
    allowed_fields: FieldSet::EMPTY,
    phi_access: false,
    accepted_consent: ConsentSet::EMPTY,
};

fn all_field_sets() -> impl Iterator<Item = FieldSet> {
    (0..64).map(|bits| FieldSet::from_bits(bits).unwrap())
}

fn all_consent_sets() -> impl Iterator<Item = ConsentSet> {
    (0..32u8).map(|bits| {
        let mut set = ConsentSet::default();
        for status in ConsentStatus::ALL {
            if bits & 1 << *status as u8 != 0 {
                assert!(set.insert(*status));
                assert!(!set.insert(*status));
            }
        }
        set
    })
}

#[test]
fn may_use_every_case() {
    let mut seen = std::collections::HashSet::new();
    for (tier, revoked, caller_allowed) in AuthTier::ALL
        .iter()
        .flat_map(|t| [false, true].map(|r| (*t, r)))
        .flat_map(|(t, r)| [false, true].map(|c| (t, r, c)))
    {
        for allowed_fields in all_field_sets() {
            let purpose = Purpose {
                tier,
                revoked,
                caller_allowed,
                allowed_fields,
                ..NOBODY
            };
            for wanted in all_field_sets() {
                let outside = wanted.iter().any(|field| !allowed_fields.contains(field));
                let expected = match (revoked, tier, caller_allowed, outside) {
                    (true, _, _, _) => Err(Reason::PurposeRevoked),
                    (_, AuthTier::Legal, _, _) => Err(Reason::Tier),
                    (_, _, false, _) => Err(Reason::PurposeRole),
                    (_, _, _, true) => Err(Reason::FieldNotAllowed),
                    _ => Ok(()),
                };
                assert_eq!(may_use(Some(&purpose), wanted), expected);
                seen.insert(expected);
            }
        }
    }
    assert_eq!(seen.len(), 5);
    for wanted in all_field_sets() {
        assert_eq!(may_use(None, wanted), Err(Reason::UnknownPurpose));
    }
}

#[test]
fn may_read_every_case() {
    let wanted = fields(&["name", "ssn"]);
    let mut seen = std::collections::HashSet::new();
    for accepted_consent in all_consent_sets() {
        for phi_access in [false, true] {
            let purpose = Purpose {
                phi_access,
                accepted_consent,
                ..NOBODY
            };
            for zone in Zone::ALL {
                assert_eq!(
                    may_read(&purpose, *zone, None, wanted),
                    Err(Reason::SubjectUnavailable)
                );
                for vertical in Vertical::ALL {
                    for consent in ConsentStatus::ALL {
                        for erased in [false, true] {
                            let (vertical, consent) = (*vertical, *consent);
                            let subject = Subject {
                                vertical,
                                consent,
                                erased,
                            };
                            let expected = expected_read(&purpose, *zone, &subject, wanted);
                            let verdict = may_read(&purpose, *zone, Some(&subject), wanted);
                            assert_eq!(verdict, expected);
                            seen.insert(verdict);
                        }
                    }
                }
            }
        }
    }
    assert_eq!(seen.len(), 6);
}

fn expected_read(
    purpose: &Purpose,
    zone: Zone,
    subject: &Subject,
    wanted: FieldSet,
) -> Result<FieldSet, Reason> {
    let sensitive = ["unknown", "healthcare"].contains(&subject.vertical.as_str());
    let pending = subject.consent.as_str().starts_with("pending_");
    let visible = match zone.as_str() {
        "none" => false,
        "cloud" => !sensitive,
        _ => true,
    };
    let accepted = purpose.accepted_consent.contains(subject.consent);
    [
        (!visible, Reason::SubjectUnavailable),
        (subject.erased, Reason::SubjectErased),
        (!accepted, Reason::Consent),
        (sensitive && pending, Reason::Consent),
        (sensitive && !purpose.phi_access, Reason::PhiAccess),
    ]
    .into_iter()
    .find(|(applies, _)| *applies)
    .map_or(
        Ok(if sensitive { wanted } else { FieldSet::EMPTY }),
        |(_, reason)| Err(reason),
    )
}

#[test]
fn a_new_subject_is_refused_to_everybody() {
    let subject = Subject {
        vertical: Vertical::Unknown,
        consent: ConsentStatus::PendingFirstContact,
        erased: false,
    };
    let mut everything = ConsentSet::default();
    for status in ConsentStatus::ALL {
        everything.insert(*status);
    }
    let purpose = Purpose {
        phi_access: true,
        accepted_consent: everything,
        ..NOBODY
    };
    for zone in Zone::ALL {
        assert!(may_read(&purpose, *zone, Some(&subject), fields(&["name"])).is_err());
    }
}
