//! The demo's two servers: real `narrowsd` processes on free loopback ports, ended by the handle that started them.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use narrows_api::{context::Context, paths, server::WhoAmI};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    api::Api,
    context::read_context,
    failure::{Failure, Outcome, codes},
};

/// How long a server may take to answer after its start, and to end after it was asked to.
const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(10);

/// Lines of a server's log that are shown when it does not start.
const LOG_LINES_SHOWN: usize = 12;

/// What a demo's server may use; two of them, the client and the page cache share the machine.
const MEMORY: &str = "512MiB";

/// One domain with its running server. Dropping it ends the server.
pub(super) struct Domain {
    /// Its context, with the administrator's token.
    pub(super) context: Context,
    /// Its API, as administrator.
    pub(super) api: Api,
    child: Child,
}

impl Domain {
    /// Makes the domain `name` below `work` and starts its server.
    pub(super) async fn start(program: &Path, work: &Path, name: &str) -> Outcome<Self> {
        let data = work.join(name);
        let listen = format!("127.0.0.1:{}", free_ports()?);
        let log_path = work.join(format!("{name}.log"));
        let log = File::create(&log_path)
            .map_err(|error| Failure::file("no log can be written", &log_path, &error))?;
        let copy =
            || log.try_clone().map_err(|error| Failure::file("no log can be written", &log_path, &error));
        let made = bare(program)
            .args(["init", "--domain", name, "--listen", &listen, "--memory", MEMORY, "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(copy()?)
            .stderr(copy()?)
            .status()
            .map_err(|error| Failure::file("narrowsd cannot be started", program, &error))?;
        if !made.success() {
            return Err(not_started(name, &log_path, &format!("narrowsd init ended with {made}")));
        }
        let context = read_context(&data.join("admin/context.toml"))?;
        let api = Api::as_administrator(&context)?;
        let child = bare(program)
            .arg("run")
            .arg("--data")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(copy()?)
            .stderr(copy()?)
            .spawn()
            .map_err(|error| Failure::file("narrowsd cannot be started", program, &error))?;
        let mut domain = Self { context, api, child };
        domain.wait_until_it_answers(name, &log_path).await?;
        Ok(domain)
    }

    async fn wait_until_it_answers(&mut self, name: &str, log: &Path) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            let Err(failure) = self.api.get::<WhoAmI>(paths::WHOAMI, &()).await else { return Ok(()) };
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(not_started(name, log, &format!("narrowsd run ended with {status}")));
            }
            if begun.elapsed() > START_MAX {
                return Err(not_started(name, log, &failure.0.message));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the server to end, and waits for it.
    pub(super) async fn stop(mut self) {
        let asked = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let begun = Instant::now();
        while asked.is_ok() && begun.elapsed() < STOP_MAX {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The rest is the drop's.
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Our own child, which has not been waited for: the id is its own.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// The program without settings from our own environment: an address there would be meant for one server, not two.
fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    let settings = std::env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.as_encoded_bytes().starts_with(b"NARROWS_")) {
        command.env_remove(name);
    }
    command
}

fn not_started(name: &str, log: &Path, why: &str) -> Failure {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n    ");
    Failure::new(codes::JOB, format!("the server of {name} did not start"))
        .at(log.display().to_string())
        .because(format!("{why}\n    {shown}"))
}

/// The first of two neighbouring ports that are free now.
fn free_ports() -> Outcome<u16> {
    for _ in 0..100 {
        let Ok(first) = TcpListener::bind("127.0.0.1:0") else { continue };
        let Ok(address) = first.local_addr() else { continue };
        if let Some(next) = address.port().checked_add(1)
            && TcpListener::bind(("127.0.0.1", next)).is_ok()
        {
            return Ok(address.port());
        }
    }
    Err(Failure::new(codes::MISSING, "there are no two free ports on the loopback address"))
}

/// The `narrowsd` beside this program.
pub(super) fn program() -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(|error| {
        Failure::new(codes::MISSING, "this program does not find itself").because(error.to_string())
    })?;
    let beside = own.with_file_name("narrowsd");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(Failure::new(codes::MISSING, "the server program is missing")
        .at(beside.display().to_string())
        .because("the demo starts the `narrowsd` that lies beside `narrowsctl`")
        .help("cargo build --release --workspace"))
}
