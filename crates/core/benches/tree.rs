//! What sealing and verifying a batch costs, beside a bare SHA-256 over the same leaves: the floor below which
//! nothing that hashes can go.

mod row;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use identity_core::merkle::{self, Digest};
use identity_core::*;
use sha2::Digest as _;

use row::row;

const ROWS: u64 = 10_000;
const INSTALLATION: [u8; 16] = [1; 16];

fn rows() -> Vec<(i64, Vec<u8>)> {
    (1..=ROWS)
        .map(|seq| {
            let row = AccessRow { seq, ..row() };
            (row.access_id(), row.leaf())
        })
        .collect()
}

fn batch(c: &mut Criterion) {
    let salts = Salts::new(&ChainKey::new(1, &[9; 32]), &INSTALLATION);
    let rows = rows();
    let mut group = c.benchmark_group("batch of 10k rows");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("sha256 of each leaf", |b| {
        b.iter(|| {
            rows.iter().fold(0, |sum, (_, leaf)| {
                sum ^ sha2::Sha256::digest(black_box(leaf))[0]
            })
        });
    });
    group.bench_function("leaf hashes, salts given", |b| {
        b.iter(|| {
            rows.iter().fold(0, |sum, (_, leaf)| {
                sum ^ leaf_hash(&[4; 16], black_box(leaf))[0]
            })
        });
    });
    group.bench_function("salts and leaf hashes", |b| {
        b.iter(|| {
            rows.iter().fold(0, |sum, (id, leaf)| {
                let salt = salts.row(*id);
                sum ^ leaf_hash(&salt, black_box(leaf))[0]
            })
        });
    });
    group.bench_function("salts, leaf hashes, tiles and root", |b| {
        b.iter(|| {
            let mut tiles = 0;
            let mut batch = BatchBuilder::new();
            for (id, leaf) in &rows {
                let salt = salts.row(*id);
                batch.push(*id, leaf_hash(&salt, black_box(leaf)), &mut |_| tiles += 1);
            }
            (batch.finish(&mut |_| tiles += 1), tiles)
        });
    });
    group.finish();
}

/// All nodes of a tree, as a database would have them.
struct Stored(Vec<Vec<Digest>>);

impl Stored {
    fn of(size: u64) -> Self {
        let mut levels: Vec<Vec<Digest>> = vec![Vec::new(); 21];
        let mut tree = Frontier::new();
        for index in 0..size {
            let leaf = leaf_hash(&[0; 16], &index.to_be_bytes());
            tree.append(leaf, &mut |level, _, hash| {
                levels[usize::from(level)].push(hash);
            });
        }
        Self(levels)
    }
}

impl Nodes for Stored {
    type Error = ();

    fn node(&self, level: u8, index: u64) -> Result<Digest, ()> {
        let level = self.0.get(usize::from(level)).ok_or(())?;
        level.get(index as usize).copied().ok_or(())
    }
}

fn tree(c: &mut Criterion) {
    let mut group = c.benchmark_group("tree");
    for size in [1_000u64, 1_000_000] {
        let stored = Stored::of(size);
        let root = merkle::root(size, &stored).expect("all nodes are there");
        let loaded = Frontier::load(size, &stored).expect("all nodes are there");
        group.bench_function(BenchmarkId::new("append", size), |b| {
            b.iter_batched_ref(
                || loaded.clone(),
                |tree| tree.append(black_box([7; 32]), &mut |_, _, hash| _ = black_box(hash)),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("load, append, root", size), |b| {
            b.iter(|| {
                let mut tree = Frontier::load(size, &stored)?;
                tree.append(black_box([7; 32]), &mut |_, _, hash| _ = black_box(hash));
                Ok::<_, ()>(tree.root())
            });
        });
        let index = size / 3;
        let leaf = stored.0[0][index as usize];
        let path = merkle::inclusion(index, size, &stored).expect("all nodes are there");
        group.bench_function(BenchmarkId::new("inclusion", size), |b| {
            b.iter(|| merkle::inclusion(black_box(index), size, &stored));
        });
        group.bench_function(BenchmarkId::new("verify inclusion", size), |b| {
            b.iter(|| merkle::verify_inclusion(index, size, &leaf, &root, black_box(&path)));
        });
        group.bench_function(BenchmarkId::new("consistency", size), |b| {
            b.iter(|| merkle::consistency(black_box(index), size, &stored));
        });
    }
    group.finish();
}

criterion_group!(benches, batch, tree);
criterion_main!(benches);
