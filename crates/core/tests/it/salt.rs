//! Every row and every seal has a salt of its own.

use identity_core::{ChainKey, Salts, row_salt, seal_salt};

use crate::support::INSTALLATION;

#[test]
fn a_salt_is_bound_to_key_installation_kind_and_number() {
    let key = ChainKey::new(1, &[9; 32]);
    let salt = row_salt(&key, &INSTALLATION, 7);
    let others = [
        row_salt(&key, &INSTALLATION, 8),
        row_salt(&key, &INSTALLATION, -7),
        row_salt(&key, &[0; 16], 7),
        row_salt(&ChainKey::new(1, &[8; 32]), &INSTALLATION, 7),
        seal_salt(&key, &INSTALLATION, 7),
        seal_salt(&key, &INSTALLATION, 8),
        seal_salt(&key, &[0; 16], 7),
        seal_salt(&ChainKey::new(1, &[8; 32]), &INSTALLATION, 7),
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(*other, salt);
        assert!(!others[..at].contains(other));
    }
    // The version is no part of it: the same key under another number is the same key.
    let renamed = ChainKey::new(2, &[9; 32]);
    assert_eq!(row_salt(&renamed, &INSTALLATION, 7), salt);
}

#[test]
fn salts_of_a_stream_are_the_same() {
    let key = ChainKey::new(1, &[9; 32]);
    let salts = Salts::new(&key, &INSTALLATION);
    for number in [1, 2, 1, 3] {
        assert_eq!(salts.row(number), row_salt(&key, &INSTALLATION, number));
        let leaf_index = number.unsigned_abs();
        assert_eq!(
            salts.seal(leaf_index),
            seal_salt(&key, &INSTALLATION, leaf_index)
        );
    }
}
