//! A batch streams by, its tiles hold every row in order, and they prove each of them.

use identity_core::merkle::*;
use identity_core::tile::*;

use crate::trees::{Stored, leaves};

/// The tiles of a batch in the order they come, and its root. Row `i` has the id `1000 + i`.
fn built(rows: u64) -> (Vec<Tile>, Digest) {
    let mut tiles = Vec::new();
    let mut batch = BatchBuilder::new();
    for (id, leaf) in (1000..).zip(leaves(rows)) {
        batch.push(id, leaf, &mut |tile| tiles.push(tile));
    }
    assert_eq!(batch.rows(), rows);
    let root = batch.finish(&mut |tile| tiles.push(tile));
    (tiles, root)
}

#[test]
fn an_empty_batch_has_the_empty_root_and_no_tile() {
    assert_eq!(built(0), (vec![], empty_root()));
}

#[test]
fn tiles_hold_every_row_once_in_order() {
    for rows in [1, 255, 256, 257, 600] {
        let (tiles, _) = built(rows);
        let rest = rows as usize % TILE_WIDTH;
        let (mut ids, mut hashes) = (Vec::new(), Vec::new());
        for (index, tile) in (0..).zip(tiles.iter().filter(|tile| tile.level == 0)) {
            assert_eq!(tile.index, index);
            assert_eq!(tile.access_ids.len(), tile.hashes.len());
            assert!(tile.hashes.len() == TILE_WIDTH || tile.hashes.len() == rest);
            ids.extend(tile.access_ids.iter().copied());
            hashes.extend(tile.hashes.iter().copied());
        }
        assert_eq!(ids, (1000..1000 + rows as i64).collect::<Vec<_>>());
        assert_eq!(hashes, leaves(rows));
        for tile in tiles.iter().filter(|tile| tile.level > 0) {
            assert!(tile.access_ids.is_empty());
        }
    }
}

/// Full tiles leave at once, so memory is one tile a level however many rows there are.
#[test]
fn a_full_tile_comes_with_its_last_row() {
    let mut batch = BatchBuilder::new();
    let mut come = Vec::new();
    for leaf in leaves(513) {
        let before = batch.rows() + 1;
        batch.push(1, leaf, &mut |tile| {
            come.push((before, tile.level, tile.index))
        });
    }
    assert_eq!(come, [(256, 0, 0), (512, 0, 1)]);
    batch.finish(&mut |tile| come.push((0, tile.level, tile.index)));
    assert_eq!(come[2..], [(0, 0, 2), (0, 1, 0)]);
}

#[test]
fn a_tile_above_holds_the_roots_of_the_full_tiles_below() {
    let (tiles, root_of_batch) = built(600);
    let hashes = leaves(600);
    let above = tiles.iter().find(|tile| tile.level == 1).unwrap();
    let roots: Vec<_> = hashes
        .chunks_exact(TILE_WIDTH)
        .map(|chunk| root(256, &Stored::of(chunk)).unwrap())
        .collect();
    assert_eq!(above.hashes, roots);
    assert_eq!(root_of_batch, root(600, &Stored::of(&hashes)).unwrap());
}

#[test]
fn tiles_prove_every_row() {
    for rows in [1, 2, 255, 256, 257, 511, 512, 700] {
        let (tiles, root) = built(rows);
        let hashes = leaves(rows);
        let nodes = TileNodes(|level, index| {
            let tile = tiles
                .iter()
                .find(|tile| (tile.level, tile.index) == (level, index));
            tile.map(|tile| tile.hashes.clone()).ok_or("no such tile")
        });
        for index in (0..rows).filter(|index| index % 5 == 0 || *index + 3 > rows) {
            let path = inclusion(index, rows, &nodes).unwrap();
            assert!(verify_inclusion(
                index,
                rows,
                &hashes[index as usize],
                &root,
                &path
            ));
        }
        assert_eq!(
            nodes.node(0, 1 << 30),
            Err(TileError::Storage("no such tile"))
        );
    }
}

#[test]
fn a_tile_that_was_cut_is_too_short() {
    let cut = TileNodes(|level, index| {
        assert_eq!((level, index), (0, 1));
        Ok::<_, ()>(leaves(5))
    });
    assert_eq!(cut.node(0, 260), Ok(leaves(5)[4]));
    assert_eq!(cut.node(0, 261), Err(TileError::Short));
    assert_eq!(
        cut.node(2, 64),
        Ok(root(4, &Stored::of(&leaves(4))).unwrap())
    );
    assert_eq!(cut.node(2, 65), Err(TileError::Short));
    assert_eq!(cut.node(7, 2), Err(TileError::Short));
    let empty = TileNodes(|_, _| Ok::<_, ()>(vec![]));
    assert_eq!(empty.node(0, 0), Err(TileError::Short));
    assert_eq!(empty.node(8, 0), Err(TileError::Short));
}

/// What a tile holds beyond its 256 hashes is never looked at.
#[test]
fn a_tile_that_is_too_long_answers_for_its_own() {
    let long = TileNodes(|_, _| Ok::<_, ()>(leaves(300)));
    assert_eq!(long.node(0, 255), Ok(leaves(300)[255]));
    assert_eq!(long.node(0, 256), Ok(leaves(300)[0]));
    assert_eq!(long.node(8, 257), Ok(leaves(300)[1]));
}

#[test]
fn errors_read_well() {
    assert_eq!(TileError::<&str>::Short.to_string(), "a tile is too short");
    assert_eq!(
        TileError::Storage("no such tile").to_string(),
        "no such tile"
    );
}
