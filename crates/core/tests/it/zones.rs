//! The zone rule: SET ROLE can only narrow.

use identity_core::*;

fn memberships() -> [Membership; 4] {
    [(false, false), (false, true), (true, false), (true, true)]
        .map(|(cloud, onbox)| Membership { cloud, onbox })
}

#[test]
fn every_pair_of_memberships() {
    for session in memberships() {
        for outer in memberships() {
            let zone = Zone::of(session, outer);
            let expected = if session.cloud || outer.cloud {
                "cloud"
            } else if session.onbox && outer.onbox {
                "onbox"
            } else {
                "none"
            };
            assert_eq!(zone.as_str(), expected);
            assert_eq!(zone, Zone::of(outer, session));
        }
    }
}

#[test]
fn set_role_never_shows_more() {
    for session in memberships() {
        let alone = Zone::of(session, session);
        for outer in memberships() {
            let narrowed = Zone::of(session, outer);
            for vertical in Vertical::ALL {
                // A login of no zone may become cloud through SET ROLE to a cloud role that it is
                // a member of; membership is inherited, so that login is itself cloud.
                if session.cloud || session.onbox {
                    assert!(alone.sees(*vertical) || !narrowed.sees(*vertical));
                }
            }
        }
    }
}

#[test]
fn routes_and_phi() {
    for vertical in Vertical::ALL {
        let closed = matches!(vertical, Vertical::Unknown | Vertical::Healthcare);
        assert_eq!(vertical.is_phi(), closed);
        assert_eq!(vertical.route() == Route::OnboxOnly, closed);
        assert!(!Zone::None.sees(*vertical));
        assert_eq!(Zone::Cloud.sees(*vertical), !closed);
        assert!(Zone::Onbox.sees(*vertical));
    }
    for status in ConsentStatus::ALL {
        assert_eq!(status.is_pending(), status.as_str().starts_with("pending_"));
    }
}
