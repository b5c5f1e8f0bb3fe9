//! What the hot path costs: one envelope, one leaf, one MAC, and the verification of a lane.
//!
//! Each figure stands beside a bare SHA-256 over the same bytes, the floor below which nothing that
//! hashes can go: a ratio to it survives a change of machine.

mod row;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use identity_core::*;
use sha2::{Digest, Sha256};

use row::row;

const ROWS: u64 = 10_000;

fn context() -> FieldContext<'static> {
    FieldContext {
        installation: &[1; 16],
        candidate: &[2; 16],
        field: Field::Name,
        erasure_generation: 0,
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn envelope(c: &mut Criterion) {
    let key = DataKey::new(1, &[7; 32]);
    let mut group = c.benchmark_group("envelope");
    for length in [12usize, 250, MAX_VALUE_BYTES] {
        let value = vec![b'x'; length];
        let sealed =
            seal(&key, &[3; 32], &context(), &value).expect("a value of this length seals");
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new("seal", length), |b| {
            b.iter(|| seal(&key, black_box(&[3; 32]), &context(), black_box(&value)));
        });
        group.bench_function(BenchmarkId::new("open", length), |b| {
            b.iter(|| open(&key, &context(), black_box(&sealed)));
        });
        group.bench_function(BenchmarkId::new("sha256 of the envelope", length), |b| {
            b.iter(|| sha256(black_box(&sealed)));
        });
    }
    group.finish();
}

fn leaf_and_mac(c: &mut Criterion) {
    let (key, row) = (ChainKey::new(1, &[9; 32]), row());
    let leaf = row.leaf();
    let mut group = c.benchmark_group("row");
    group.throughput(Throughput::Bytes(leaf.len() as u64));
    group.bench_function("leaf", |b| b.iter(|| black_box(&row).leaf()));
    group.bench_function("link", |b| {
        b.iter(|| link(&key, black_box(&[4; 32]), black_box(&leaf)))
    });
    group.bench_function("leaf and link", |b| {
        b.iter(|| link(&key, black_box(&[4; 32]), &black_box(&row).leaf()));
    });
    group.bench_function("sha256 of the leaf", |b| {
        b.iter(|| sha256(black_box(&leaf)))
    });
    group.finish();
}

fn lane(c: &mut Criterion) {
    let key = ChainKey::new(1, &[9; 32]);
    let start = genesis(&[1; 16], 3);
    let mut head = start;
    let rows: Vec<_> = (1..=ROWS)
        .map(|seq| {
            let leaf = AccessRow { seq, ..row() }.leaf();
            let mac = link(&key, &head.mac, &leaf);
            head = Head { seq, mac };
            (seq, leaf, mac)
        })
        .collect();
    let mut group = c.benchmark_group("lane");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("verify 10k rows", |b| {
        b.iter(|| {
            let mut lane = LaneVerifier::new(start);
            rows.iter()
                .filter(|(seq, leaf, mac)| lane.check(*seq, leaf, mac, &key).is_err())
                .count()
        });
    });
    group.bench_function("rebuild leaves and verify 10k rows", |b| {
        b.iter(|| {
            let mut lane = LaneVerifier::new(start);
            rows.iter()
                .filter(|(seq, _, mac)| {
                    let leaf = AccessRow { seq: *seq, ..row() }.leaf();
                    lane.check(*seq, &leaf, mac, &key).is_err()
                })
                .count()
        });
    });
    group.bench_function("sha256 of 10k leaves", |b| {
        b.iter(|| {
            rows.iter()
                .fold(0, |sum, (_, leaf, _)| sum ^ sha256(leaf)[0])
        });
    });
    group.finish();
}

/// Texts of a megabyte: the target is 50 ms each.
fn text_search(c: &mut Criterion) {
    use identity_core::text::{Kind, MAX_TEXT_BYTES, Matcher, Pattern};
    let words = (0..100)
        .map(|number| format!("pattern{number}"))
        .collect::<Vec<_>>();
    let mut patterns = (0..)
        .zip(&words)
        .map(|(id, text)| Pattern {
            id,
            kind: Kind::Word,
            text,
        })
        .collect::<Vec<_>>();
    patterns.push(Pattern {
        id: 100,
        kind: Kind::Credential,
        text: "MD",
    });
    patterns.push(Pattern {
        id: 101,
        kind: Kind::Phrase,
        text: "patient care",
    });
    let matcher = Matcher::new(&patterns).expect("patterns are well-formed");
    let mut group = c.benchmark_group("text of 1 MB");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(MAX_TEXT_BYTES as u64));
    for (name, filler) in [
        (
            "resume",
            "Led a team of 12 engineers in Baltimore, MD 21201; reduced churn. ",
        ),
        ("accents", "Gérante à Orléans, où l'été fut très réussi. "),
        ("cyrillic", "Руководил отделом продаж. "),
        ("broken lines", "engi-\nneer "),
        ("initials", "R."),
        ("states", "Silver Spring MD "),
        ("expanding", "\u{FDFA}"),
        ("marks", "\u{301}"),
        ("han", "护士"),
    ] {
        let text = filler.repeat(MAX_TEXT_BYTES / filler.len());
        group.bench_function(name, |b| b.iter(|| matcher.find(black_box(&text))));
    }
    group.finish();
}

criterion_group!(benches, envelope, leaf_and_mac, lane, text_search);
criterion_main!(benches);
