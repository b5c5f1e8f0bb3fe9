use core::convert::Infallible;

use hpke::rand_core::{TryCryptoRng, TryRng};
use serde::Deserialize;

use super::*;
use crate::key::is_key;

/// Gives the bytes that a vector says the ephemeral key was derived from.
struct Given([u8; 32]);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("a key is derived from bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("a key is derived from bytes")
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Given {}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
}

#[derive(Deserialize)]
struct Of<V> {
    vectors: Vec<V>,
}

#[derive(Deserialize)]
#[allow(non_snake_case)] // their names
struct Cfrg {
    info: String,
    ikmE: String,
    skRm: String,
    skSm: String,
    pkRm: String,
    pkSm: String,
    enc: String,
    aad: String,
    pt: String,
    ct: String,
}

#[derive(Deserialize)]
struct Frozen {
    worker: String,
    server: String,
    ephemeral_input: String,
    installation: String,
    system_identifier: String,
    epoch: String,
    kind: String,
    version: u32,
    key: String,
    check_value: String,
    sealed: String,
}

impl Frozen {
    fn load(&self) -> KeyLoad<'_> {
        KeyLoad {
            installation: array(&self.installation),
            system_identifier: &self.system_identifier,
            epoch: array(&self.epoch),
            kind: KeyKind::parse(&self.kind).unwrap(),
            version: self.version,
        }
    }
}

/// The suite is the one that we say it is.
#[test]
fn cfrg_vectors() {
    let json = include_str!("../../tests/vectors/cfrg_hpke_auth.json");
    let of: Of<Cfrg> = serde_json::from_str(json).unwrap();
    assert_eq!(of.vectors.len(), 1);
    for v in of.vectors {
        let worker = SealingSecret::from_bytes(&array(&v.skSm));
        let server = SealingSecret::from_bytes(&array(&v.skRm));
        assert_eq!(
            (worker.public(), server.public()),
            (array(&v.pkSm), array(&v.pkRm))
        );
        let (info, aad, value) = (unhex(&v.info), unhex(&v.aad), unhex(&v.pt));
        let mut body = value.clone();
        let mut rng = Given(array(&v.ikmE));
        let (encapsulated, tag) = seal(
            &worker,
            &server.public(),
            (&info, &aad),
            &mut body,
            &mut rng,
        )
        .unwrap();
        assert_eq!(encapsulated, array(&v.enc));
        assert_eq!([&body[..], &tag].concat(), unhex(&v.ct));
        open(
            &server,
            &worker.public(),
            (&info, &aad),
            &encapsulated,
            &mut body,
            &tag,
        )
        .unwrap();
        assert_eq!(body, value);
    }
}

fn frozen() -> Vec<Frozen> {
    let json = include_str!("../../tests/vectors/sealing.json");
    let of: Of<Frozen> = serde_json::from_str(json).unwrap();
    assert_eq!(of.vectors.len(), 5);
    of.vectors
}

#[test]
fn frozen_vectors() {
    for v in frozen() {
        let worker = SealingSecret::from_bytes(&array(&v.worker));
        let server = SealingSecret::from_bytes(&array(&v.server));
        let (load, key) = (v.load(), array(&v.key));
        assert!(is_key(load.kind, v.version, &key, &unhex(&v.check_value)));
        let mut rng = Given(array(&v.ephemeral_input));
        let sealed = seal_key(&worker, &server.public(), &load, &key, &mut rng).unwrap();
        assert_eq!(sealed.to_vec(), unhex(&v.sealed));
        assert_eq!(
            *open_key(&server, &worker.public(), &load, &sealed).unwrap(),
            key
        );
    }
}

#[test]
fn nothing_else_opens() {
    let v = frozen().remove(0);
    let worker = SealingSecret::from_bytes(&array(&v.worker));
    let server = SealingSecret::from_bytes(&array(&v.server));
    let (load, sealed, by) = (v.load(), unhex(&v.sealed), worker.public());
    assert!(open_key(&server, &by, &load, &sealed).is_some());
    for at in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[at / 8] ^= 1 << (at % 8);
        assert!(
            open_key(&server, &by, &load, &changed).is_none(),
            "bit {at}"
        );
    }
    for size in 0..sealed.len() {
        assert!(open_key(&server, &by, &load, &sealed[..size]).is_none());
    }
    assert!(open_key(&server, &by, &load, &[&sealed[..], &[0]].concat()).is_none());
    let other = SealingSecret::from_bytes(&[7; 32]);
    assert!(open_key(&other, &by, &load, &sealed).is_none());
    assert!(open_key(&server, &other.public(), &load, &sealed).is_none());
    assert!(open_key(&server, &server.public(), &load, &sealed).is_none());
    let others = [
        KeyLoad {
            installation: [0; 16],
            ..load
        },
        KeyLoad {
            system_identifier: "730145982410123456",
            ..load
        },
        KeyLoad {
            epoch: [0; 16],
            ..load
        },
        KeyLoad {
            kind: KeyKind::Chain,
            ..load
        },
        KeyLoad { version: 2, ..load },
    ];
    for other in others {
        assert!(
            open_key(&server, &by, &other, &sealed).is_none(),
            "{other:?}"
        );
    }
}

/// Points with which every private key agrees on the same secret: RFC 7748, section 7.
#[test]
fn a_server_key_of_low_order_is_not_sealed_to() {
    let v = frozen().remove(0);
    let worker = SealingSecret::from_bytes(&array(&v.worker));
    let mut one = [0; 32];
    one[0] = 1;
    for point in [[0; 32], one] {
        let mut rng = Given(array(&v.ephemeral_input));
        assert!(seal_key(&worker, &point, &v.load(), &[1; 32], &mut rng).is_none());
    }
}
