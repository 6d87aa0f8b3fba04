//! Real domains: `narrowsd` processes on loopback and `narrowsctl` to talk to them, as a person would.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

/// So long anything may take to go on by itself.
const PATIENCE: Duration = Duration::from_mins(3);

/// Asks again until there is an answer; fails when it takes too long.
pub fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} takes too long");
        // A look at the state of something; its result does not depend on when it is taken.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Where the binaries of this build lie: two levels above the test that runs.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in deps/");
    let path = profile.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// How the programs of a domain are started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Words before `narrowsd` and `narrowsctl`, e.g. `setpriv ...`.
    pub wrapper: Vec<String>,
    /// Environment of the server.
    pub environment: Vec<(String, String)>,
    /// `--memory`, or what is usual without it.
    pub memory: Option<String>,
    /// Where the programs lie, if not where they were built.
    pub programs: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        let memory = Some("192MiB".into());
        Self { wrapper: Vec::new(), environment: Vec::new(), memory, programs: None }
    }
}

impl Setup {
    /// `narrowsd` or `narrowsctl`, with what stands before it.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.as_ref().map_or_else(|| binary(name), |dir| dir.join(name));
        let mut words = self.wrapper.iter();
        let Some(first) = words.next() else { return Command::new(program) };
        let mut command = Command::new(first);
        command.args(words).arg(program);
        command
    }
}

/// One domain with its server process.
pub struct Domain {
    /// Its name, which is also the context's.
    pub name: String,
    /// Its data folder.
    pub dir: PathBuf,
    config: PathBuf,
    setup: Setup,
    server: Option<Child>,
}

/// Two neighbouring ports of the loopback address that nobody holds just now: below what the system gives to those who
/// dial, and so many that none comes twice in a process, for whoever starts again wants its own.
#[must_use]
pub fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let of_this_process = u16::try_from(std::process::id() % 11).unwrap_or(0);
    loop {
        let port = 10_000 + of_this_process * 2000 + NEXT.fetch_add(2, Ordering::Relaxed) % 2000;
        let pair = [port, port + 1].map(|port| TcpListener::bind(("127.0.0.1", port)));
        if pair.iter().all(Result::is_ok) {
            return port;
        }
    }
}

impl Domain {
    /// Makes a domain below `work` and starts its server.
    pub fn start(work: &Path, name: &str, setup: Setup) -> Self {
        let dir = work.join(name);
        let config = work.join("config");
        let mut domain = Self { name: name.into(), dir, config, setup, server: None };
        let listen = format!("127.0.0.1:{}", free_ports());
        let mut init = domain.server_command();
        init.args(["init", "--domain", name, "--listen", &listen, "--data"]).arg(&domain.dir);
        if let Some(memory) = &domain.setup.memory {
            init.args(["--memory", memory]);
        }
        let output = init.output().expect("narrowsd starts");
        assert!(output.status.success(), "init: {}", String::from_utf8_lossy(&output.stderr));
        domain.run();
        let context = domain.dir.join("admin/context.toml");
        domain.ok(&["context", "add", name, "--from", context.to_str().expect("a test's path is UTF-8")]);
        domain
    }

    /// Joins a domain with a media server and runs it: `of` is its primary, and `name` what it is called there.
    pub fn join(of: &Self, work: &Path, name: &str, setup: Setup) -> Self {
        let line = of.json(&["media-server", "invite", name])["line"].as_str().expect("a line").to_owned();
        let joined = Self::try_join(of, (&line, work.join(name)), name, setup);
        joined.unwrap_or_else(|why| panic!("init: {why}"))
    }

    /// The same by a line of its primary's, with its data in a folder; what `init` says when that fails.
    pub fn try_join(
        of: &Self,
        (line, dir): (&str, PathBuf),
        name: &str,
        setup: Setup,
    ) -> Result<Self, String> {
        let config = of.config.clone();
        let mut server = Self { name: name.into(), dir, config, setup, server: None };
        let listen = format!("127.0.0.1:{}", free_ports());
        let mut init = server.server_command();
        init.args(["init", "--join", line, "--listen", &listen, "--data"]).arg(&server.dir);
        if let Some(memory) = &server.setup.memory {
            init.args(["--memory", memory]);
        }
        let output = init.output().expect("narrowsd starts");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        server.try_run(&[]).map(|()| server)
    }

    fn server_command(&self) -> Command {
        let mut command = self.setup.program("narrowsd");
        command.envs(self.setup.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Starts the server and waits until it says that it is ready; its log goes on into `server.log`.
    pub fn run(&mut self) {
        let outcome = self.try_run(&[]);
        outcome.unwrap_or_else(|log| panic!("narrowsd ended before it was ready:\n{log}"));
    }

    /// The same, with more environment for this run; its log when it ends before it is ready.
    pub fn try_run(&mut self, environment: &[(&str, &str)]) -> Result<(), String> {
        assert!(self.server.is_none(), "{} runs already", self.name);
        let mut command = self.server_command();
        command
            .envs(environment.iter().copied())
            .arg("run")
            .arg("--data")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("narrowsd starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut log =
            File::options().create(true).append(true).open(self.log()).expect("a log can be written");
        let mut text = String::new();
        loop {
            let mut line = String::new();
            let count = lines.read_line(&mut line).expect("the log is text");
            if count == 0 {
                child.wait().expect("our own child");
                return Err(text);
            }
            text.push_str(&line);
            if line.contains("narrowsd is ready") {
                break;
            }
        }
        io::Write::write_all(&mut log, text.as_bytes()).expect("a log can be written");
        std::thread::spawn(move || io::copy(&mut lines, &mut log));
        self.server = Some(child);
        Ok(())
    }

    /// Whether the server has ended by itself (it can be run again then), or does not run.
    pub fn has_ended(&mut self) -> bool {
        let ended =
            self.server.as_mut().is_none_or(|server| server.try_wait().expect("our own child").is_some());
        if ended {
            self.server = None;
        }
        ended
    }

    /// Where the server's log is kept.
    pub fn log(&self) -> PathBuf {
        self.dir.with_extension("server.log")
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("the server runs").id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("our own child");
            server.wait().expect("our own child");
        }
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut server = self.server.take()?;
        let pid = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("our own child");
        server.wait().expect("our own child").code()
    }

    /// Where clients keep what they know of unchanged files.
    pub fn cache(&self) -> PathBuf {
        self.config.with_extension("cache")
    }

    /// `narrowsctl --context NAME ...`, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.setup.program("narrowsctl");
        command.env("XDG_CONFIG_HOME", &self.config).env("XDG_CACHE_HOME", self.cache());
        command.stdin(Stdio::null());
        command.args(["--context", &self.name]).args(words);
        command
    }

    /// Starts `narrowsd client`, the agent of the client that was enrolled last; its log goes on into `agent.log`.
    pub fn agent(&self, hooks: &Path) -> Child {
        let log = File::options().create(true).append(true).open(self.dir.with_extension("agent.log"));
        let mut command = self.setup.program("narrowsd");
        command.env("XDG_CONFIG_HOME", &self.config).env("XDG_CACHE_HOME", self.cache());
        command.args(["client", "--context", &self.name, "--hooks"]).arg(hooks);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log can be written"));
        command.spawn().expect("narrowsd starts")
    }

    /// Runs `narrowsctl` whatever comes of it.
    pub fn ctl(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("narrowsctl starts")
    }

    /// The last line of `--json` output, if the command succeeds: the server may be gone.
    pub fn tried(&self, words: &[&str]) -> Option<Value> {
        let output = self.ctl(&[words, &["--json"]].concat());
        if !output.status.success() {
            println!("narrowsctl {words:?} in {}: {}", self.name, String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(last_json(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Runs `narrowsctl`, which must succeed, and gives its standard output.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.ctl(words);
        assert!(
            output.status.success(),
            "narrowsctl {words:?} in {}: {}\n{}\n{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("narrowsctl prints text")
    }

    /// The last line of `--json` output.
    pub fn json(&self, words: &[&str]) -> Value {
        let mut all = words.to_vec();
        all.push("--json");
        last_json(&self.ok(&all))
    }

    /// Runs `narrowsctl`, which must fail with this exit code and name this stable code.
    pub fn refused(&self, words: &[&str], exit: i32, code: &str) -> String {
        let output = self.ctl(words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit), "narrowsctl {words:?}: {text}");
        assert!(text.contains(&format!("error[{code}]")), "narrowsctl {words:?} did not name {code}: {text}");
        text
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last line that is JSON.
pub fn last_json(text: &str) -> Value {
    serde_json::from_str(text).ok().unwrap_or_else(|| {
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    })
}

/// Two paired domains, `east` backs up and replicates to `west`.
pub struct Pair {
    /// The source.
    pub east: Domain,
    /// The target.
    pub west: Domain,
    /// Their folder; gone with the pair.
    pub work: tempfile::TempDir,
}

/// A folder on a real disk: the default one for temporary files may be memory without direct I/O.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").expect("/var/tmp can be written")
}

impl Pair {
    /// Starts and pairs them, enrolls one client in each, and applies the policies `gold` and `gold-import`.
    pub fn start(setup: &Setup) -> Self {
        Self::start_in(folder(), setup)
    }

    /// The same in a folder that was made ready.
    pub fn start_in(work: tempfile::TempDir, setup: &Setup) -> Self {
        Self::of_two(work, setup, setup)
    }

    /// The same with a setup for each.
    pub fn of_two(work: tempfile::TempDir, east: &Setup, west: &Setup) -> Self {
        let east = Domain::start(work.path(), "east", east.clone());
        let west = Domain::start(work.path(), "west", west.clone());
        let pair = Self { east, west, work };
        let line = pair.east.json(&["domain", "invite"])["line"].as_str().expect("a line").to_owned();
        pair.west.ok(&["domain", "pair", &line]);
        pair.east.ok(&["client", "enroll", "web01"]);
        pair.west.ok(&["client", "enroll", "dr01"]);
        pair.apply();
        pair
    }

    fn apply(&self) {
        let import = "name = \"gold-import\"\n[[operation]]\nid = \"import\"\nkind = \"import\"\nstorage = \"default\"\n\
                      retention = { target = {}, at_least = \"1d\", at_most = \"1y\" }\n";
        let gold = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
                    retention = { fixed = \"30d\" }\n[[operation]]\nid = \"to-west\"\nkind = \"replication\"\n\
                    source = \"backup\"\ntarget = { domain = \"west\", import_slp = \"gold-import\" }\n\
                    retention = { fixed = \"90d\" }\n";
        for (domain, name, text) in [(&self.west, "import", import), (&self.east, "gold", gold)] {
            let file = self.work.path().join(format!("{name}.toml"));
            fs::write(&file, text).expect("can be written");
            domain.ok(&["slp", "apply", "-f", file.to_str().expect("UTF-8")]);
        }
    }

    /// Backs up a folder in the east and gives what `backup --json` ends with.
    pub fn backup(&self, source: &Path) -> Value {
        self.east.json(&["backup", "--slp", "gold", source.to_str().expect("UTF-8")])
    }

    /// The same, not waited for.
    pub fn start_backup(&self, source: &Path) -> Child {
        let source = source.to_str().expect("UTF-8");
        let mut command = self.east.command(&["backup", "--slp", "gold", source, "--json"]);
        command.stdout(Stdio::piped()).spawn().expect("narrowsctl starts")
    }

    /// What one that was started ends with. The client comes back by itself; one that gave up is run again and resumes.
    pub fn finish_backup(&self, running: Child, source: &Path) -> Value {
        let ended = running.wait_with_output().expect("it was started");
        if ended.status.success() {
            last_json(&String::from_utf8(ended.stdout).expect("UTF-8"))
        } else {
            self.backup(source)
        }
    }

    /// What `image show` says once the image is in the west and confirmed; nothing is pushed. `None` while the east does
    /// not answer.
    pub fn confirmed(&self, image: &str) -> Option<Value> {
        let shown = self.east.tried(&["image", "show", image])?;
        let complete = |operation: &Value| operation["state"] == "complete";
        let all = shown["operations"].as_array().is_some_and(|operations| operations.iter().all(complete));
        (all && shown["replicas"][0]["state"] == "present").then_some(shown)
    }

    /// Waits until the newest image is confirmed in the west.
    pub fn replicated(&self, image: &str) -> Value {
        self.east.json(&["image", "replicate", image, "--to-domain", "west", "--wait"])
    }
}
