//! Goal: the real backends work on this machine's kernel, disk and sockets.

use std::{net::SocketAddr, time::Duration};

use narrows_ring::{
    cores::{self, Setup},
    mailbox,
    world::{BlockOffset, OpenMode, World},
};

async fn disk(world: World, dir: std::path::PathBuf) {
    let path = dir.join("file");
    let file = world.disk.open(&path, OpenMode::Create).await.unwrap();
    let mut buffer = world.arena.take(1 << 20).await;
    buffer.set_len(1 << 20);
    for (i, b) in buffer.iter_mut().enumerate() {
        *b = (i % 251) as u8;
    }
    let (done, mut buffer) = file.write_at(BlockOffset::ZERO, buffer).await;
    done.unwrap();
    file.sync_data().await.unwrap();
    world.disk.sync_dir(&dir).await.unwrap();
    assert_eq!(file.size().await.unwrap(), 1 << 20);
    buffer.fill(0);
    let (count, buffer) = file.read_at(BlockOffset::ZERO, buffer).await;
    assert_eq!(count.unwrap(), 1 << 20);
    assert!(buffer.iter().enumerate().all(|(i, b)| *b == (i % 251) as u8));
}

async fn net(world: World) {
    let listener = world.net.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr();
    let other = world.clone();
    let server = world.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        loop {
            let (count, buffer) = stream.receive(other.arena.take(8192).await).await;
            if count.unwrap() == 0 {
                return all;
            }
            all.extend_from_slice(&buffer);
        }
    });
    let stream = world.net.connect(address).await.unwrap();
    let mut buffer = world.arena.take(100_000).await;
    buffer.set_len(100_000);
    buffer.fill(7);
    let (sent, _) = stream.send(buffer).await;
    sent.unwrap();
    drop(stream);
    assert_eq!(server.join().await.unwrap(), vec![7; 100_000]);
}

#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let sum = cores::block_on(Setup::here(4 << 20), |world| async move {
        disk(world.clone(), path).await;
        net(world.clone()).await;
        world.clock.sleep(Duration::from_millis(5)).await;
        world.offload(|| 40 + 2).await
    });
    assert_eq!(sum.unwrap(), Some(42));
}

#[test]
fn two_cores_talk() {
    let (ask, asked) = mailbox::channel::<u32>(4);
    let (reply, replies) = mailbox::channel::<u32>(4);
    let ends = std::sync::Mutex::new((Some((ask, replies)), Some((asked, reply))));
    let cpus = cores::available();
    let setup = Setup::new(cpus.iter().copied().cycle().take(2).collect(), 2 << 20);
    let cores = cores::start(setup, move |core, _world| {
        let mut ends = ends.lock().unwrap();
        if core == 0 {
            let (ask, replies) = ends.0.take().unwrap();
            Box::pin(async move {
                for n in 0..10_000 {
                    ask.send(n).await.unwrap();
                    assert_eq!(replies.receive().await, Some(n + 1));
                }
            })
        } else {
            let (asked, reply) = ends.1.take().unwrap();
            Box::pin(async move {
                while let Some(n) = asked.receive().await {
                    reply.send(n + 1).await.unwrap();
                }
            })
        }
    })
    .unwrap();
    cores.join().unwrap();
}
