//! Goal: what only real threads and a real kernel can show: cores wake each other and are woken by foreign
//! threads, sleep when idle, say how they ended, and make no system call of their own for data.

#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]

mod strace;

use std::{
    net::SocketAddr,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use narrows_ring::{
    cores::{self, Cores, Setup, StartError},
    mailbox::{self, Receiver, Sender},
    switches::{Switch, Switches},
    world::{BLOCK, BlockOffset, Local, OpenMode, World},
};

/// Starts `count` cores, on as many processors as there are, each with its own `part`.
fn start<P: Send + 'static>(
    switches: Switches,
    parts: Vec<P>,
    main: impl Fn(usize, World, P) -> Local<'static, ()> + Send + Sync + 'static,
) -> Result<Cores, StartError> {
    let processors = cores::available();
    let mut setup = Setup::new(processors.into_iter().cycle().take(parts.len()).collect(), 2 << 20);
    setup.switches = switches;
    let parts = Mutex::new(parts.into_iter().map(Some).collect::<Vec<_>>());
    cores::start(setup, move |core, world| {
        let part = parts.lock().unwrap()[core].take().unwrap();
        main(core, world, part)
    })
}

/// A ring of cores: each receives from the one before and sends to the next.
fn circle(count: usize) -> Vec<(Receiver<u64>, Sender<u64>)> {
    let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mailbox::channel(4)).unzip();
    receivers.rotate_right(1);
    receivers.into_iter().zip(senders).collect()
}

fn send_around(switches: Switches) {
    const ROUNDS: u64 = 2_000;
    let cores = start(switches, circle(3), |core, _, (receiver, sender)| {
        Box::pin(async move {
            if core == 0 {
                sender.send(0).await.unwrap();
            }
            while let Some(hops) = receiver.receive().await {
                if hops == ROUNDS * 3 {
                    return;
                }
                // The others have ended when the last hop is done.
                if sender.send(hops + 1).await.is_err() {
                    return;
                }
            }
        })
    });
    cores.unwrap().join().unwrap();
}

#[test]
fn cores_wake_each_other_by_messages() {
    send_around(Switches::NONE);
}

#[test]
fn cores_wake_each_other_by_eventfd() {
    send_around(Switches::NONE.with(Switch::NoMsgRing));
}

#[test]
fn cores_with_plain_rings_wake_each_other() {
    send_around(Switches::NONE.with(Switch::PlainRingFlags));
}

#[test]
fn cores_on_threads_wake_each_other() {
    send_around(Switches::NONE.with(Switch::Threads));
}

#[test]
fn foreign_threads_wake_a_core_and_are_woken() {
    for switches in [Switches::NONE, Switches::NONE.with(Switch::Threads)] {
        let (ask, asked) = mailbox::channel::<(u64, Sender<u64>)>(2);
        let askers: Vec<_> = (0..4)
            .map(|asker| {
                let ask = ask.clone();
                let body = move || {
                    let (reply, replies) = mailbox::channel(1);
                    for number in 0..500 {
                        ask.send_blocking((asker * 1_000 + number, reply.clone())).unwrap();
                        assert_eq!(replies.receive_blocking(), Some(asker * 1_000 + number + 1));
                    }
                };
                std::thread::Builder::new().spawn(body).unwrap()
            })
            .collect();
        drop(ask);
        let cores = start(switches, vec![asked], |_, world, asked| {
            Box::pin(async move {
                while let Some((number, reply)) = asked.receive().await {
                    world.spawn(async move { reply.send(number + 1).await.unwrap() }).detach();
                }
            })
        });
        cores.unwrap().join().unwrap();
        for asker in askers {
            asker.join().unwrap();
        }
    }
}

#[test]
fn a_panic_is_told_while_the_other_cores_run_on() {
    let cores = start(Switches::NONE, vec![false, true], |_, world, panics| {
        Box::pin(async move {
            if panics {
                world.spawn(async { panic!("as planned") }).detach();
            }
            std::future::pending::<()>().await;
        })
    });
    let panic = cores.unwrap().join().unwrap_err();
    assert_eq!((panic.core, panic.message.as_str()), (1, "as planned"));
}

#[test]
fn work_that_panics_has_no_answer_and_harms_no_other() {
    let outcome = cores::block_on(Setup::here(0), |world| async move {
        let work = |number: usize| {
            let world = world.clone();
            async move {
                world
                    .offload(move || {
                        assert!(number.is_multiple_of(2), "as planned");
                        number
                    })
                    .await
            }
        };
        join_all((0..20).map(work)).await
    });
    let expected: Vec<_> = (0..20).map(|number| (number % 2 == 0).then_some(number)).collect();
    assert_eq!(outcome.unwrap(), expected);
}

fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn an_idle_core_uses_no_processor() {
    for switches in
        [Switches::NONE, Switches::NONE.with(Switch::PlainRingFlags), Switches::NONE.with(Switch::Threads)]
    {
        let mut setup = Setup::here(0);
        setup.switches = switches;
        let used = cores::block_on(setup, |world| async move {
            let listener = world.net.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
            let address = listener.local_addr();
            let stream = world.net.connect(address).await.unwrap();
            let other = world.clone();
            world.spawn(async move { drop(stream.receive(other.arena.take(1).await).await) }).detach();
            world.spawn(async move { while listener.accept().await.is_ok() {} }).detach();
            world.clock.sleep(Duration::from_millis(20)).await;
            let before = thread_cpu();
            world.clock.sleep(Duration::from_millis(700)).await;
            thread_cpu().saturating_sub(before)
        });
        // A loop that spins gets at least a share of a loaded machine.
        let used = used.unwrap();
        assert!(used < Duration::from_millis(30), "{switches}: {used:?}");
    }
}

/// Goal: a connection that tokio or anybody else has made is a stream like another, in whichever mode it was left.
#[test]
fn a_socket_made_elsewhere_is_taken_over() {
    for switches in [Switches::NONE, Switches::NONE.with(Switch::Threads)] {
        for never_waits in [false, true] {
            let mut setup = Setup::here(1 << 20);
            setup.switches = switches;
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let near = listener.accept().unwrap().0;
            near.set_nonblocking(never_waits).unwrap();
            let echo = std::thread::spawn(move || {
                let (mut far, mut bytes) = (far, [0; 5]);
                std::io::Read::read_exact(&mut far, &mut bytes).unwrap();
                // Whoever waits for it has begun to wait by then, as a rule.
                std::thread::sleep(Duration::from_millis(50));
                std::io::Write::write_all(&mut far, &bytes).unwrap();
            });
            let came = cores::block_on(setup, |world| async move {
                let stream = world.net.adopt(near.into()).await.unwrap();
                let mut buffer = world.arena.take(5).await;
                buffer.set_len(5);
                buffer.copy_from_slice(b"hello");
                stream.send(buffer).await.0.unwrap();
                let (count, buffer) = stream.receive(world.arena.take(16).await).await;
                (count.unwrap(), buffer.to_vec())
            });
            echo.join().unwrap();
            assert_eq!(came.unwrap(), (5, b"hello".to_vec()), "{switches} {never_waits}");
        }
    }
}

#[test]
fn operations_of_an_ended_core_are_over_before_it_returns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let other = path.clone();
    let kept = cores::block_on(Setup::here(8 << 20), |world| async move {
        let file = world.disk.open(&other, OpenMode::Create).await.unwrap();
        for number in 0..6u64 {
            let mut buffer = world.arena.take(1 << 20).await;
            buffer.set_len(1 << 20);
            buffer.fill(1 + u8::try_from(number).unwrap());
            let (file, at) = (file.clone(), BlockOffset::new(number << 20).unwrap());
            world.spawn(async move { file.write_at(at, buffer).await.0.unwrap() }).detach();
        }
        let listener = world.net.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let inner = world.clone();
        world.spawn(async move { drop(listener.accept().await) }).detach();
        // All of them are under way when the core ends.
        world.clock.sleep(Duration::ZERO).await;
        world.clock.sleep(Duration::ZERO).await;
        inner
    });
    let world = kept.unwrap();
    assert_eq!(world.arena.free(), world.arena.total(), "the kernel has given all memory back");
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.chunks(1 << 20).zip(1..).all(|(piece, mark)| piece.iter().all(|byte| *byte == mark)));
    drop(world.spawn(async { unreachable!("nothing runs after the end") }));
}

/// All of an arena that may be larger than what this process may lock.
async fn use_all_memory(world: World, path: std::path::PathBuf) {
    let file = world.disk.open(&path, OpenMode::Create).await.unwrap();
    let pieces = (world.arena.total() / (1 << 20)) as u64;
    let write = |piece: u64| {
        let (world, file) = (world.clone(), file.clone());
        async move {
            let mut buffer = world.arena.take(1 << 20).await;
            buffer.set_len(1 << 20);
            buffer.fill(u8::try_from(piece % 251).unwrap());
            let at = BlockOffset::new(piece << 20).unwrap();
            let (written, mut buffer) = file.write_at(at, buffer).await;
            written.unwrap();
            buffer.fill(255);
            let (count, buffer) = file.read_at(at, buffer).await;
            assert_eq!(count.unwrap(), 1 << 20);
            assert!(buffer.iter().all(|byte| u64::from(*byte) == piece % 251));
        }
    };
    join_all((0..pieces).map(write)).await;
    file.sync_data().await.unwrap();
}

#[test]
fn an_arena_may_be_larger_than_the_limit_on_locked_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    cores::block_on(Setup::here(32 << 20), |world| use_all_memory(world, path)).unwrap();
}

/// Method: the test above once more, as somebody who may lock 8 MiB, and then nothing.
#[test]
fn little_memory_may_be_locked() {
    let myself = std::env::current_exe().unwrap();
    for limit in ["8388608", "0"] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
        command.args(["prlimit", &format!("--memlock={limit}")]).arg(&myself);
        command.args(["--exact", "an_arena_may_be_larger_than_the_limit_on_locked_memory"]);
        // Where nobody may become somebody else, the limit holds as it is for this process too.
        let mut probe = Command::new("setpriv");
        probe.args(["--reuid=65534", "--clear-groups", "test", "-x"]).arg(&myself);
        if probe_succeeds(&mut probe) {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

fn probe_succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Forbids `io_uring_setup` to this thread and those that it starts, as containers do.
fn forbid_io_uring() {
    let load_number = libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let number = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let is_setup = libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: number };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let refuse = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: refuse };
    let allow = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let mut rules = [load_number, is_setup, refuse, allow];
    let program = libc::sock_fprog { len: 4, filter: rules.as_mut_ptr() };
    // SAFETY: a call with numbers only.
    let outcome = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(outcome, 0);
    // SAFETY: `program` and the rules that it points to live until the call returns.
    let outcome = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(outcome, 0);
}

#[test]
fn where_io_uring_is_forbidden_clients_work_and_servers_say_why() {
    let body = || {
        forbid_io_uring();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        cores::block_on(Setup::here(2 << 20), |world| use_all_memory(world, path)).unwrap();
        let refused = start(Switches::NONE, vec![()], |_, _, ()| Box::pin(async {})).map(|_| ()).unwrap_err();
        assert!(matches!(refused, StartError::Forbidden(_)), "{refused}");
        assert!(refused.to_string().contains("seccomp"), "{refused}");
    };
    std::thread::Builder::new().spawn(body).unwrap().join().unwrap();
}

#[test]
fn an_unknown_word_in_the_environment_stops_the_start() {
    let myself = std::env::current_exe().unwrap();
    let run = |list: &str| {
        let mut command = Command::new(&myself);
        command.args(["--exact", "cores_wake_each_other_by_messages"]).env("NARROWS_RING", list);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(run("buffered,no-send-zc").contains("1 passed"));
    let refused = run("bufered");
    assert!(refused.contains("1 failed") && refused.contains("bufered"), "{refused}");
}

/// Everything that a server's core does, without the parts that go to helper threads; `mark` is called on
/// each data thread before and after.
fn work_on_two_cores(mark: fn(&str)) {
    let dir = tempfile::tempdir().unwrap();
    let path = Arc::new(dir.path().to_owned());
    let (address, addresses) = mailbox::channel::<SocketAddr>(1);
    let mut parts: Vec<_> = circle(2).into_iter().map(|ends| (ends, None, None)).collect();
    (parts[0].1, parts[1].2) = (Some(address), Some(addresses));
    let cores = start(Switches::NONE, parts, move |core, world, ((receiver, sender), tell, told)| {
        let path = path.join(core.to_string());
        Box::pin(async move {
            let file = world.disk.open(&path, OpenMode::Create).await.unwrap();
            let stream = match (tell, told) {
                (Some(tell), _) => {
                    let listener = world.net.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
                    tell.send(listener.local_addr()).await.unwrap();
                    listener.accept().await.unwrap().0
                }
                (_, told) => {
                    let address = told.unwrap().receive().await.unwrap();
                    world.net.connect(address).await.unwrap()
                }
            };
            mark("begin");
            let mut come = 0;
            for number in 0..50u64 {
                let mut buffer = world.arena.take(128 << 10).await;
                buffer.set_len(128 << 10);
                let at = BlockOffset::new(number * 32 * BLOCK as u64).unwrap();
                let (written, buffer) = file.write_at(at, buffer).await;
                written.unwrap();
                file.sync_data().await.unwrap();
                let (sent, buffer) = stream.send(buffer).await;
                sent.unwrap();
                let (count, buffer) = file.read_at(at, buffer).await;
                count.unwrap();
                sender.send(number).await.unwrap();
                receiver.receive().await.unwrap();
                let mut buffer = buffer;
                while come < (number + 1) << 17 {
                    let (count, back) = stream.receive(buffer).await;
                    come += count.unwrap() as u64;
                    buffer = back;
                }
                world.clock.sleep(Duration::from_micros(200)).await;
            }
            mark("end");
        })
    });
    cores.unwrap().join().unwrap();
}
