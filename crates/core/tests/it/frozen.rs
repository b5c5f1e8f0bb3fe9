//! The frozen vectors of our own formats. They were made by the Python in `tests/independent`, which
//! shares no code with this crate, and that Python checks them too.

use identity_core::*;

use crate::frozen_file::frozen;
use crate::support::{hex, unhex, unhex_array};

#[test]
fn keys_agree() {
    for v in frozen().keys {
        let (kind, key) = (KeyKind::parse(&v.kind).unwrap(), unhex_array(&v.key));
        if v.development {
            assert_eq!(*development_key(kind), key);
        }
        assert_eq!(hex(&check_value(kind, v.version, &key)), v.check_value);
        let (own, version) = match kind {
            KeyKind::Dek => {
                let key = DataKey::new(v.version, &key);
                (key.check_value(), key.version())
            }
            KeyKind::Chain => {
                let key = ChainKey::new(v.version, &key);
                (key.check_value(), key.version())
            }
            KeyKind::Index | KeyKind::Signing => (check_value(kind, v.version, &key), v.version),
        };
        assert_eq!((hex(&own), version), (v.check_value, v.version));
    }
}

#[test]
fn envelopes_agree() {
    for v in frozen().envelopes {
        let key = DataKey::new(v.key_version, &unhex_array(&v.key));
        let (installation, candidate) = (unhex_array(&v.installation), unhex_array(&v.candidate));
        let ctx = v.context(&installation, &candidate);
        let (value, envelope) = (unhex(&v.value), unhex(&v.envelope));
        let sealed = seal(&key, &unhex_array(&v.message_id), &ctx, &value).unwrap();
        assert_eq!(hex(&sealed), v.envelope);
        assert_eq!(*open(&key, &ctx, &envelope).unwrap(), value);
        assert_eq!(key_version(&envelope), Ok(v.key_version));
    }
}

#[test]
fn classifications_agree() {
    for v in frozen().classifications {
        let key = DataKey::new(v.key_version, &unhex_array(&v.key));
        let ctx = ClassificationsContext {
            installation: &unhex_array(&v.installation),
            candidate: &unhex_array(&v.candidate),
            erasure_generation: v.erasure_generation,
        };
        let (value, envelope) = (unhex(&v.value), unhex(&v.envelope));
        let sealed = seal(&key, &unhex_array(&v.message_id), &ctx, &value).unwrap();
        assert_eq!(hex(&sealed), v.envelope);
        assert_eq!(*open(&key, &ctx, &envelope).unwrap(), value);
    }
}

/// Authentic under the key, and yet not what the writer would produce.
#[test]
fn refusals_agree() {
    for v in frozen().refused {
        let key = DataKey::new(v.key_version, &unhex_array(&v.key));
        let (installation, candidate) = (unhex_array(&v.installation), unhex_array(&v.candidate));
        let ctx = v.context(&installation, &candidate);
        assert!(
            open(&key, &ctx, &unhex(&v.envelope)).is_err(),
            "{}",
            v.value
        );
    }
}

#[test]
fn leaves_agree() {
    for v in frozen().leaves {
        let row = v.row.access_row();
        assert_eq!(String::from_utf8(row.leaf()).unwrap(), v.leaf);
        let id = format!("\"access_id\":\"{}\"", row.access_id());
        assert!(v.leaf.contains(&id));
    }
}

#[test]
fn chains_agree() {
    for v in frozen().genesis {
        let head = genesis(&unhex_array(&v.installation), v.lane);
        assert_eq!((head.seq, hex(&head.mac)), (0, v.mac));
    }
    for v in frozen().chains {
        let key = ChainKey::new(v.key_version, &unhex_array(&v.key));
        let mut lane = LaneVerifier::new(genesis(&unhex_array(&v.installation), v.lane));
        for row in v.rows {
            let mac = link(&key, &lane.head().mac, row.leaf.as_bytes());
            assert_eq!(hex(&mac), row.mac);
            assert_eq!(lane.check(row.seq, row.leaf.as_bytes(), &mac, &key), Ok(()));
        }
    }
}

#[test]
fn digests_agree() {
    for v in frozen().events {
        let mut pairs: Vec<_> = v.pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
        for _ in 0..2 {
            let digest = event_digest(&unhex_array(&v.installation), &v.kind, &pairs);
            assert_eq!(hex(&digest), v.digest);
            pairs.reverse();
        }
    }
    for v in frozen().evidence {
        assert_eq!(
            hex(&evidence_digest(&unhex_array(&v.salt), &v.text)),
            v.digest
        );
    }
    for v in frozen().subjects {
        let (installation, candidate) = (unhex_array(&v.installation), unhex_array(&v.candidate));
        assert_eq!(hex(&subject_digest(&installation, &candidate)), v.digest);
    }
    for v in frozen().certificates {
        assert_eq!(hex(&cert_fingerprint(&v.issuer, &v.serial)), v.fingerprint);
    }
}

#[test]
fn candidates_agree() {
    for v in frozen().candidates {
        let id = candidate_id(v.unix_ms, &unhex_array(&v.random));
        assert_eq!(hex(&id), v.id.replace('-', ""));
    }
}
