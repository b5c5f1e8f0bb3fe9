//! Notes, keys and checkpoints that others have made.

use identity_core::note::{Note, VerifierKey, open};
use identity_core::{Checkpoint, TlogProof};
use serde::Deserialize;

use crate::support::{hex, unhex, unhex_array};

/// The example of C2SP `signed-note`.
#[test]
fn c2sp_signed_note() {
    let key =
        VerifierKey::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
            .unwrap();
    assert_eq!(
        (key.name(), hex(&key.id())),
        ("example.com/foo", "530d903a".into())
    );
    let text = "This is an example message.\n";
    let note = format!(
        "{text}\n— example.com/foo \
         Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    );
    let keys = [key];
    assert_eq!(open(note.as_bytes(), &keys).unwrap().text, text);
}

/// The first example of C2SP `signed-note`: its text holds an empty line; its key is not given.
#[test]
fn c2sp_poem() {
    let text = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n";
    let note = format!(
        "{text}\n— quasimodo.example/salvatore \
         NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
    );
    assert_eq!(Note::parse(note.as_bytes()).unwrap().text, text);
}

/// The example of Go's `golang.org/x/mod/sumdb/note`, and two keys its tests refuse.
#[test]
fn go_note() {
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let keys = [VerifierKey::parse(key).unwrap()];
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let note = format!(
        "{text}\n— PeterNeumann \
         x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    assert_eq!(open(note.as_bytes(), &keys).unwrap().text, text);
    // Its key is longer than a key; its type is unknown. The ids fit.
    for bad in [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert_eq!(VerifierKey::parse(bad), None);
    }
}

/// The example of C2SP `tlog-checkpoint`.
#[test]
fn c2sp_checkpoint() {
    let text =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let note = format!(
        "{text}\n— example.com/behind-the-sofa \
         Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    );
    let checkpoint = Checkpoint::claimed(&note).unwrap();
    assert_eq!(checkpoint.text(), text);
    assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size, 20_852_163);
    assert_eq!(
        hex(&checkpoint.root),
        "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    );
}

/// The example of C2SP `tlog-proof`, whose signatures are cut and whose extra data is not base 64 by its
/// length: we leave both out.
#[test]
fn c2sp_tlog_proof() {
    let checkpoint = "example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n";
    let text = format!(
        "c2sp.org/tlog-proof@v1\nindex 73894\n\
         gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n\
         B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\
         EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\n\
         RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n\
         AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n\n{checkpoint}"
    );
    let proof = TlogProof::parse(&text).unwrap();
    assert_eq!(
        (proof.index, proof.path.len(), &proof.extra),
        (73894, 5, &None)
    );
    assert_eq!(proof.checkpoint, checkpoint);
    assert_eq!(proof.text(), text);
}

#[derive(Deserialize)]
struct Cctv {
    vectors: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    number: u32,
    key: String,
    sig: String,
    msg: String,
    flags: Vec<String>,
}

/// C2SP/CCTV's edge cases of Ed25519: what may fit several messages or keys is refused, a good
/// signature with an odd point is not.
#[test]
fn c2sp_cctv_ed25519() {
    let vectors: Cctv = serde_json::from_str(include_str!("../vectors/cctv_ed25519.json")).unwrap();
    let (mut accepted, mut weak) = (0, 0);
    for v in vectors.vectors {
        let has = |flag: &str| v.flags.iter().any(|has| has == flag);
        let key = VerifierKey::new("a", &unhex_array(&v.key));
        assert_eq!(key.is_none(), has("low_order_A"), "{}", v.number);
        weak += u32::from(key.is_none());
        let verifies = key.is_some_and(|key| key.verifies(v.msg.as_bytes(), &unhex(&v.sig)));
        let good = ![
            "low_order_A",
            "low_order_R",
            "low_order_residue",
            "non_canonical_R",
        ]
        .into_iter()
        .any(has);
        assert_eq!(verifies, good, "{}", v.number);
        accepted += u32::from(verifies);
    }
    assert_eq!((accepted, weak), (3, 42));
}
