//! One person alone widens nothing, in whatever order the steps come.

use identity_core::*;
use proptest::prelude::*;

use crate::support::fields;

const CEILING: i32 = 100;

type Change = fn(&mut Content);

fn narrow() -> Content {
    Content {
        allowed_fields: fields(&["name"]),
        tier: AuthTier::Service,
        allowed_roles: vec![b"gateway".to_vec()],
        accepted_consent: consent(&[ConsentStatus::Given]),
        phi_access: false,
        rate_limit_qps: Some(5),
        daily_volume_cap: Some(50),
    }
}

fn wide() -> Content {
    Content {
        allowed_fields: fields(&["name", "ssn"]),
        ..narrow()
    }
}

fn consent(states: &[ConsentStatus]) -> ConsentSet {
    let mut set = ConsentSet::EMPTY;
    for state in states {
        set.insert(*state);
    }
    set
}

fn asks(content: &Content, in_effect: Option<&Content>, later: &[Content]) -> bool {
    needs_approval(
        ApprovalPolicy::Sensitive,
        CEILING,
        content,
        in_effect,
        later,
    )
}

#[test]
fn each_sensitive_reach_is_sensitive() {
    let cases: [(&str, Change, bool); 9] = [
        ("as it is", |_| {}, false),
        ("ssn", |c| c.allowed_fields = fields(&["name", "ssn"]), true),
        ("dob", |c| c.allowed_fields = fields(&["dob"]), true),
        (
            "the other fields",
            |c| c.allowed_fields = fields(&["name", "email", "phone", "address"]),
            false,
        ),
        ("phi", |c| c.phi_access = true, true),
        ("no cap", |c| c.daily_volume_cap = None, true),
        (
            "at the ceiling",
            |c| c.daily_volume_cap = Some(CEILING),
            false,
        ),
        ("above it", |c| c.daily_volume_cap = Some(CEILING + 1), true),
        (
            "legal ssn",
            |c| {
                c.tier = AuthTier::Legal;
                c.allowed_fields = fields(&["ssn"]);
            },
            true,
        ),
    ];
    for (name, change, expected) in cases {
        let mut content = narrow();
        change(&mut content);
        assert_eq!(content.is_sensitive(CEILING), expected, "{name}");
        assert_eq!(asks(&content, None, &[]), expected, "{name}");
    }
}

#[test]
fn each_way_to_widen_is_wider_and_its_reverse_is_not() {
    let cases: [(&str, Change); 8] = [
        ("field", |c| c.allowed_fields = fields(&["name", "email"])),
        ("role", |c| c.allowed_roles.push(b"other".to_vec())),
        ("consent", |c| {
            c.accepted_consent = consent(&[ConsentStatus::Given, ConsentStatus::Withdrawn]);
        }),
        ("phi", |c| c.phi_access = true),
        ("rate", |c| c.rate_limit_qps = Some(6)),
        ("no rate", |c| c.rate_limit_qps = None),
        ("cap", |c| c.daily_volume_cap = Some(51)),
        ("no cap", |c| c.daily_volume_cap = None),
    ];
    assert!(!narrow().is_wider_than(&narrow(), CEILING));
    for (name, change) in cases {
        let mut wider = narrow();
        change(&mut wider);
        assert!(wider.is_wider_than(&narrow(), CEILING), "{name}");
        assert!(!narrow().is_wider_than(&wider, CEILING), "{name}");
        assert!(!wider.is_wider_than(&wider, CEILING), "{name}");
    }
    let legal = Content {
        tier: AuthTier::Legal,
        ..narrow()
    };
    assert!(legal.is_wider_than(&narrow(), CEILING) && narrow().is_wider_than(&legal, CEILING));
    let uncapped = Content {
        daily_volume_cap: None,
        ..narrow()
    };
    let above = Content {
        daily_volume_cap: Some(CEILING + 1),
        ..narrow()
    };
    assert!(
        above.is_wider_than(&uncapped, CEILING),
        "no cap is the ceiling, not without bound"
    );
}

#[test]
fn what_is_measured_against_is_all_that_may_be_relied_on() {
    assert!(!asks(&wide(), Some(&wide()), &[]), "the same again");
    assert!(!asks(&narrow(), Some(&wide()), &[]), "narrower is at once");
    assert!(asks(&wide(), Some(&narrow()), &[]));
    assert!(asks(&wide(), None, &[]), "nothing in effect, or revoked");
    assert!(
        asks(&wide(), Some(&wide()), &[narrow()]),
        "a narrow one waits its time"
    );
    assert!(
        asks(&wide(), None, &[wide()]),
        "a wide one waits for approval"
    );
    assert!(!asks(&wide(), Some(&wide()), &[wide(), wide()]));
}

#[test]
fn policy_decides_what_is_asked_for() {
    for (policy, insensitive, sensitive) in [
        (ApprovalPolicy::None, false, false),
        (ApprovalPolicy::Sensitive, false, true),
        (ApprovalPolicy::All, true, true),
    ] {
        assert_eq!(ApprovalPolicy::parse(policy.as_str()), Some(policy));
        let asks = |content: Content, in_effect: Option<&Content>| {
            needs_approval(policy, CEILING, &content, in_effect, &[])
        };
        assert_eq!(asks(narrow(), None), insensitive);
        assert_eq!(asks(wide(), None), sensitive);
        assert!(
            !asks(wide(), Some(&wide())),
            "narrowing is at once whatever the policy"
        );
    }
}

fn some_content() -> impl Strategy<Value = Content> {
    let caps = || prop_oneof![Just(None), (1..=3 * CEILING).prop_map(Some)];
    (
        0..64u8,
        any::<bool>(),
        0..4u8,
        0..32u8,
        any::<bool>(),
        caps(),
        caps(),
    )
        .prop_map(
            |(bits, legal, roles, states, phi_access, rate_limit_qps, daily_volume_cap)| Content {
                allowed_fields: FieldSet::from_bits(bits).unwrap(),
                tier: if legal {
                    AuthTier::Legal
                } else {
                    AuthTier::Service
                },
                allowed_roles: (0..2)
                    .filter(|role| roles & 1 << role != 0)
                    .map(|role| vec![role])
                    .collect(),
                accepted_consent: consent(
                    &ConsentStatus::ALL
                        .iter()
                        .copied()
                        .filter(|state| states & 1 << *state as u8 != 0)
                        .collect::<Vec<_>>(),
                ),
                phi_access,
                rate_limit_qps,
                daily_volume_cap,
            },
        )
}

/// What one person can do alone.
#[derive(Clone, Debug)]
enum Step {
    Write(Content, u32),
    /// Some of the fields of the newest version.
    Narrow(u8, u32),
    /// The content of an earlier version once more: what an attacker who wants it back would write.
    WriteAgain(usize, u32),
    Revoke,
    Wait(u32),
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (some_content(), 0..5u32).prop_map(|(content, ahead)| Step::Write(content, ahead)),
        (0..64u8, 0..5u32).prop_map(|(mask, ahead)| Step::Narrow(mask, ahead)),
        (0..8usize, 0..5u32).prop_map(|(version, ahead)| Step::WriteAgain(version, ahead)),
        Just(Step::Revoke),
        (1..4u32).prop_map(Step::Wait),
    ]
}

struct Version {
    content: Content,
    effective_at: u32,
    waits: bool,
}

/// The newest that is effective and does not wait; `None` if it is revoked.
fn in_effect(versions: &[Version], revoked_up_to: usize, now: u32) -> Option<usize> {
    versions
        .iter()
        .rposition(|version| version.effective_at <= now && !version.waits)
        .filter(|at| *at >= revoked_up_to)
}

/// What is open now is not sensitive, or not wider than what was open a moment ago.
fn narrows(
    open_before: &mut Option<Content>,
    versions: &[Version],
    revoked_up_to: usize,
    moment: u32,
) -> Result<(), TestCaseError> {
    let open = in_effect(versions, revoked_up_to, moment).map(|at| versions[at].content.clone());
    if let Some(open) = &open {
        prop_assert!(
            !open.is_sensitive(CEILING)
                || open_before
                    .as_ref()
                    .is_some_and(|before| !open.is_wider_than(before, CEILING)),
            "{open:?} opened at {moment} after {open_before:?}"
        );
    }
    *open_before = open;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn one_person_cannot_widen_by_any_order_of_steps(
        approved in some_content(),
        steps in proptest::collection::vec(some_step(), 1..12),
    ) {
        let mut versions = vec![Version { content: approved.clone(), effective_at: 0, waits: false }];
        let (mut revoked_up_to, mut now) = (0, 0);
        let mut open_before = Some(approved);
        for step in steps {
            let newest = versions.last().map(|version| version.content.clone()).unwrap();
            let written = match step {
                Step::Write(content, ahead) => Some((content, ahead)),
                Step::Narrow(mask, ahead) => {
                    let allowed_fields = FieldSet::from_bits(newest.allowed_fields.bits() & mask).unwrap();
                    Some((Content { allowed_fields, ..newest }, ahead))
                }
                Step::WriteAgain(version, ahead) => {
                    Some((versions[version % versions.len()].content.clone(), ahead))
                }
                Step::Revoke => { revoked_up_to = versions.len(); None }
                Step::Wait(ticks) => {
                    for moment in now..now + ticks {
                        narrows(&mut open_before, &versions, revoked_up_to, moment)?;
                    }
                    now += ticks;
                    None
                }
            };
            if let Some((content, ahead)) = written {
                let newest_that_counts = versions
                    .iter()
                    .rposition(|version| version.effective_at <= now && !version.waits);
                let later = newest_that_counts.map_or(0, |at| at + 1);
                let later = versions[later..].iter().map(|version| version.content.clone()).collect::<Vec<_>>();
                let known = in_effect(&versions, revoked_up_to, now).map(|at| &versions[at].content);
                let waits = asks(&content, known, &later);
                versions.push(Version { content, effective_at: now + ahead, waits });
            }
            narrows(&mut open_before, &versions, revoked_up_to, now)?;
        }
    }

    #[test]
    fn narrower_than_narrower_is_narrower(a in some_content(), b in some_content(), c in some_content()) {
        prop_assert!(!a.is_wider_than(&a, CEILING));
        if !a.is_wider_than(&b, CEILING) && !b.is_wider_than(&c, CEILING) {
            prop_assert!(!a.is_wider_than(&c, CEILING));
        }
    }
}
