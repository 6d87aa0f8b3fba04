//! Files.

use std::{io::ErrorKind, rc::Rc};

use futures_util::{FutureExt as _, future::join_all};
use narrows_ring::{
    buffer::Buffer,
    world::{BLOCK, BlockOffset, File, OpenMode, World},
};

use super::{Place, fill_from, is_from};

async fn filled(world: &World, length: usize, start: usize) -> Buffer {
    let mut buffer = world.arena.take(length).await;
    buffer.set_len(length);
    fill_from(&mut buffer, start);
    buffer
}

fn block(number: usize) -> BlockOffset {
    BlockOffset::new((number * BLOCK) as u64).unwrap()
}

async fn write(world: &World, file: &Rc<dyn File>, at: usize, blocks: usize) {
    let (outcome, buffer) = file.write_at(block(at), filled(world, blocks * BLOCK, at * BLOCK).await).await;
    outcome.unwrap();
    assert_eq!(buffer.len(), blocks * BLOCK);
}

async fn read(world: &World, file: &Rc<dyn File>, at: usize, blocks: usize) -> Vec<u8> {
    let mut buffer = world.arena.take(blocks * BLOCK).await;
    buffer.set_len(blocks * BLOCK);
    buffer.fill(0xaa);
    let (count, buffer) = file.read_at(block(at), buffer).await;
    assert_eq!(buffer.len(), blocks * BLOCK);
    buffer[..count.unwrap()].to_vec()
}

pub(super) async fn what_is_written_is_read(place: Place) {
    let (world, path) = (place.world.clone(), place.path("file"));
    let file = world.disk.open(&path, OpenMode::Create).await.unwrap();
    write(&world, &file, 20, 256).await;
    // Whatever turn it has, it comes.
    file.stand_back();
    write(&world, &file, 0, 1).await;
    file.sync_data().await.unwrap();
    world.disk.sync_dir(&place.dir).await.unwrap();
    assert_eq!(file.size().await.unwrap(), 276 * BLOCK as u64);
    drop(file);
    let file = world.disk.open(&path, OpenMode::Read).await.unwrap();
    file.stand_back();
    assert!(is_from(&read(&world, &file, 0, 1).await, 0));
    assert_eq!(read(&world, &file, 1, 19).await, vec![0; 19 * BLOCK], "a hole reads as zeros");
    assert!(is_from(&read(&world, &file, 20, 256).await, 20 * BLOCK));
}

pub(super) async fn names_come_change_and_go(place: Place) {
    let disk = &place.world.disk;
    let (one, two) = (place.path("one"), place.path("two"));
    let kind = |error: std::io::Error| error.kind();
    assert_eq!(disk.open(&one, OpenMode::Read).await.map(drop).map_err(kind), Err(ErrorKind::NotFound));
    let file = disk.open(&one, OpenMode::Create).await.unwrap();
    write(&place.world, &file, 0, 1).await;
    assert_eq!(
        disk.open(&one, OpenMode::Create).await.map(drop).map_err(kind),
        Err(ErrorKind::AlreadyExists)
    );
    drop(disk.open(&two, OpenMode::Create).await.unwrap());
    disk.rename(&one, &two).await.unwrap();
    assert_eq!(disk.open(&one, OpenMode::Write).await.map(drop).map_err(kind), Err(ErrorKind::NotFound));
    let moved = disk.open(&two, OpenMode::Write).await.unwrap();
    assert_eq!(moved.size().await.unwrap(), BLOCK as u64, "the rename replaced the empty file");
    disk.remove(&two).await.unwrap();
    assert_eq!(disk.remove(&two).await.map_err(kind), Err(ErrorKind::NotFound));
    assert!(is_from(&read(&place.world, &moved, 0, 1).await, 0), "an open file outlives its name");
    let inner = place.path("inner");
    disk.create_dir(&inner).await.unwrap();
    assert_eq!(disk.create_dir(&inner).await.map_err(kind), Err(ErrorKind::AlreadyExists));
    drop(disk.open(&inner.join("file"), OpenMode::Create).await.unwrap());
    disk.sync_dir(&inner).await.unwrap();
}

pub(super) async fn the_end_of_a_file_is_where_it_is(place: Place) {
    let world = &place.world;
    let file = world.disk.open(&place.path("file"), OpenMode::Create).await.unwrap();
    assert!(read(world, &file, 0, 1).await.is_empty());
    write(world, &file, 0, 3).await;
    assert!(read(world, &file, 3, 8).await.is_empty());
    assert_eq!(read(world, &file, 1, 8).await.len(), 2 * BLOCK);
    assert!(read(world, &file, 100, 1).await.is_empty());
    file.truncate(block(1)).await.unwrap();
    assert_eq!(file.size().await.unwrap(), BLOCK as u64);
    file.truncate(block(4)).await.unwrap();
    let bytes = read(world, &file, 0, 8).await;
    assert!(is_from(&bytes[..BLOCK], 0));
    assert_eq!(bytes[BLOCK..], vec![0; 3 * BLOCK]);
}

pub(super) async fn room_is_told_and_reserved(place: Place) {
    let space = place.world.disk.space(&place.dir).await.unwrap();
    assert!(space.available > 0);
    assert!(space.total >= space.available);
    let file = place.world.disk.open(&place.path("file"), OpenMode::Create).await.unwrap();
    file.allocate(block(1), 64 * BLOCK as u64).await.unwrap();
    file.allocate(block(1), 0).await.unwrap();
    assert_eq!(file.size().await.unwrap(), 0);
    write(&place.world, &file, 2, 1).await;
    assert_eq!(file.size().await.unwrap(), 3 * BLOCK as u64);
}

pub(super) async fn many_operations_run_at_once(place: Place) {
    const PIECES: usize = 96;
    let world = &place.world;
    let file = world.disk.open(&place.path("file"), OpenMode::Create).await.unwrap();
    let pieces: Vec<_> = (0..PIECES).map(|piece| (piece * 8, 1 + place.random(8))).collect();
    join_all(pieces.iter().map(|(at, blocks)| write(world, &file, *at, *blocks))).await;
    file.sync_data().await.unwrap();
    let read = |(at, blocks): (usize, usize)| {
        let file = &file;
        async move {
            let bytes = read(world, file, at, blocks).await;
            assert_eq!(bytes.len(), blocks * BLOCK);
            assert!(is_from(&bytes, at * BLOCK));
        }
    };
    join_all(pieces.iter().copied().map(read)).await;
    place.settled().await;
}

pub(super) async fn a_dropped_operation_keeps_its_memory_until_it_ends(place: Place) {
    let world = &place.world;
    let file = world.disk.open(&place.path("file"), OpenMode::Create).await.unwrap();
    for round in 0..40 {
        let buffer = filled(world, 64 * BLOCK, round * 64 * BLOCK).await;
        let mut writing = file.write_at(block(round * 64), buffer);
        // Started, and then nobody waits for it.
        let _ = (&mut writing).now_or_never();
        drop(writing);
        let mut buffer = world.arena.take(64 * BLOCK).await;
        buffer.set_len(64 * BLOCK);
        let reading = file.read_at(BlockOffset::ZERO, buffer);
        let _ = reading.now_or_never();
        // Memory that a dropped read still fills is not handed out: this pattern would be overwritten.
        let mine = filled(world, 64 * BLOCK, 7).await;
        place.pause().await;
        assert!(is_from(&mine, 7), "round {round}");
    }
    place.settled().await;
    file.sync_data().await.unwrap();
    let blocks = usize::try_from(file.size().await.unwrap()).unwrap() / BLOCK;
    for at in 0..blocks {
        let bytes = read(world, &file, at, 1).await;
        let untouched = bytes.iter().all(|byte| *byte == 0);
        assert!(untouched || is_from(&bytes, at * BLOCK), "block {at} is whole or was never written");
    }
}

pub(super) async fn a_file_opened_for_reading_is_not_written(place: Place) {
    let path = place.path("file");
    drop(place.world.disk.open(&path, OpenMode::Create).await.unwrap());
    let file = place.world.disk.open(&path, OpenMode::Read).await.unwrap();
    let (outcome, _) = file.write_at(BlockOffset::ZERO, filled(&place.world, BLOCK, 0).await).await;
    assert!(outcome.is_err());
    assert_eq!(file.size().await.unwrap(), 0);
    drop(file);
    place.settled().await;
}
