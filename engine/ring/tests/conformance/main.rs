//! Goal: every world keeps what `world.rs` promises, so that code tested in one runs in all.
//!
//! Method: cases are functions over a [`Place`], a world with a directory and an address. Each runs on the
//! ring as it is, on the ring with each switch, on plain threads, and in the simulation over many seeds.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod disk;
mod net;
mod tasks;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use narrows_ring::{
    cores::{self, Setup},
    sim::{Host, Sim},
    switches::{Switch, Switches},
    world::{Local, World},
};

/// Where a case runs.
#[derive(Clone)]
struct Place {
    world: World,
    /// An empty directory.
    dir: PathBuf,
    /// Where one can listen; port 0.
    address: SocketAddr,
}

type Case = (&'static str, fn(Place) -> Local<'static, ()>);

/// Names a case and boxes its future.
macro_rules! case {
    ($path:path) => {
        (stringify!($path), |place| Box::pin($path(place)))
    };
}

const CASES: &[Case] = &[
    case!(disk::what_is_written_is_read),
    case!(disk::names_come_change_and_go),
    case!(disk::the_end_of_a_file_is_where_it_is),
    case!(disk::room_is_told_and_reserved),
    case!(disk::many_operations_run_at_once),
    case!(disk::a_dropped_operation_keeps_its_memory_until_it_ends),
    case!(disk::a_file_opened_for_reading_is_not_written),
    case!(net::bytes_go_both_ways_at_once),
    case!(net::a_dropped_receive_loses_nothing),
    case!(net::what_a_dropped_receive_brought_fits_smaller_buffers),
    case!(net::a_dropped_send_goes_out_before_the_next),
    case!(net::a_dropped_accept_loses_no_connection),
    case!(net::a_dropped_stream_ends_the_peer_and_gives_memory_back),
    case!(net::shutting_down_ends_a_receive_under_way),
    case!(net::nobody_listens_after_a_listener_was_dropped),
    case!(tasks::tasks_end_are_joined_and_cancelled),
    case!(tasks::sleeps_last_as_long_as_asked),
    case!(tasks::work_is_done_elsewhere),
    case!(tasks::a_mailbox_holds_back_its_sender),
    case!(tasks::an_arena_serves_more_than_it_has),
    case!(tasks::random_bytes_differ),
];

const SIM_SEEDS: u64 = 12;

/// Small, so that waiting for memory happens.
const ARENA_BYTES: usize = 4 << 20;

fn run_live(switches: Switches) {
    for (name, case) in CASES {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().to_owned();
        let mut setup = Setup::here(ARENA_BYTES);
        setup.switches = switches;
        println!("{name} [{switches}]");
        let main = |world| case(Place { world, dir: path, address: SocketAddr::from(([127, 0, 0, 1], 0)) });
        cores::block_on(setup, main).unwrap();
    }
}

#[test]
fn on_the_ring() {
    run_live(Switches::NONE);
}

#[test]
fn on_ipv6() {
    let mut setup = Setup::here(ARENA_BYTES);
    setup.switches = Switches::NONE;
    let address = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
    // Machines without IPv6 have nothing to show here.
    if std::net::TcpListener::bind(address).is_ok() {
        let main = |world| net::bytes_go_both_ways_at_once(Place { world, dir: PathBuf::new(), address });
        cores::block_on(setup, main).unwrap();
    }
}

#[test]
fn without_registered_buffers() {
    run_live(Switches::NONE.with(Switch::NoRegisteredBuffers));
}

#[test]
fn without_huge_pages() {
    run_live(Switches::NONE.with(Switch::NoHugePages));
}

#[test]
fn without_messages_between_rings() {
    run_live(Switches::NONE.with(Switch::NoMsgRing));
}

#[test]
fn without_zero_copy() {
    run_live(Switches::NONE.with(Switch::NoSendZc));
}

#[test]
fn with_plain_ring_flags() {
    run_live(Switches::NONE.with(Switch::PlainRingFlags));
}

#[test]
fn through_the_page_cache() {
    run_live(Switches::NONE.with(Switch::Buffered));
}

#[test]
fn with_everything_left_out() {
    let all = Switch::ALL.into_iter().filter(|switch| *switch != Switch::Threads);
    run_live(all.fold(Switches::NONE, Switches::with));
}

#[test]
fn on_plain_threads() {
    run_live(Switches::NONE.with(Switch::Threads));
}

#[test]
fn with_a_ring_of_few_entries() {
    for (name, case) in CASES {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().to_owned();
        let mut setup = Setup::here(ARENA_BYTES);
        setup.entries = 1;
        println!("{name}");
        let main = |world| case(Place { world, dir: path, address: SocketAddr::from(([127, 0, 0, 1], 0)) });
        cores::block_on(setup, main).unwrap();
    }
}

#[test]
fn in_the_simulation() {
    for seed in 0..SIM_SEEDS {
        for (name, case) in CASES {
            println!("{name} [seed {seed}]");
            let sim = Sim::new(seed);
            let world = sim.world(Host(1));
            let dir = Path::new("/place").to_owned();
            sim.run(async move {
                world.disk.create_dir(&dir).await.unwrap();
                case(Place { world, dir, address: SocketAddr::from(([127, 0, 0, 1], 0)) }).await;
            })
            .unwrap();
        }
    }
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Random numbers of the world, so that a seed repeats a case.
    fn random(&self, below: usize) -> usize {
        let mut bytes = [0; 4];
        self.world.entropy.fill(&mut bytes);
        u32::from_le_bytes(bytes) as usize % below
    }

    async fn pause(&self) {
        self.world.clock.sleep(Duration::from_micros(self.random(300) as u64)).await;
    }

    /// Waits until all memory has come back; operations that were dropped end soon.
    async fn settled(&self) {
        for _ in 0..10_000 {
            if self.world.arena.free() == self.world.arena.total() {
                return;
            }
            self.world.clock.sleep(Duration::from_millis(1)).await;
        }
        panic!("{} of {} bytes free", self.world.arena.free(), self.world.arena.total());
    }
}

/// Byte `at` of a stream that no two offsets below 2^32 repeat for long.
fn byte_at(at: usize) -> u8 {
    let mixed = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

fn fill_from(bytes: &mut [u8], start: usize) {
    bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = byte_at(start + at));
}

fn is_from(bytes: &[u8], start: usize) -> bool {
    bytes.iter().enumerate().all(|(at, byte)| *byte == byte_at(start + at))
}
