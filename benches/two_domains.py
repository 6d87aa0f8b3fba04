"""What the benches of servers share: two domains that `compare/setup.sh` starts, and processes by their numbers."""
import json, os, re, shutil, signal, subprocess, sys, time

here = os.path.dirname(os.path.abspath(__file__))
bin_dir = os.environ.get("NARROWS_BIN", os.path.join(here, "../target/release"))


class Two:
    """The domains `a` and `b` in a folder that is emptied first."""

    def __init__(self, work, **more):
        self.work = os.path.abspath(work)
        self.env = dict(os.environ, XDG_CONFIG_HOME=self.work + "/config", XDG_CACHE_HOME=self.work + "/cache", NARROWS_BIN=bin_dir, **more)
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        command = ["bash", here + "/compare/setup.sh", self.work + "/a", self.work + "/b"]
        setup = subprocess.run(command, env=self.env, check=True, capture_output=True, text=True)
        self.a, self.b = map(int, setup.stdout.split()[-2:])

    def ctl(self, *words, text=None, context="a"):
        """The last object that `narrowsctl --json` prints."""
        command = [bin_dir + "/narrowsctl", "--context", context, "--json", *words]
        done = subprocess.run(command, env=self.env, input=text, check=True, capture_output=True, text=True)
        return json.loads(done.stdout) if done.stdout[0] == "[" else json.loads(done.stdout.splitlines()[-1])

    def start(self, name):
        """Starts a server; its process and the seconds until it was ready."""
        begun = time.monotonic()
        log = open(f"{self.work}/{name}.bench.log", "ab+")
        offset = log.seek(0, 2)
        command = [bin_dir + "/narrowsd", "run", "--data", f"{self.work}/{name}"]
        process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        while b"narrowsd is ready" not in open(log.name, "rb").read()[offset:]:
            if process.poll() is not None:
                sys.exit(f"narrowsd ended; see {log.name}")
            time.sleep(0.005)
        return process, time.monotonic() - begun


def stop(pid):
    os.kill(pid, signal.SIGTERM)
    while os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
        time.sleep(0.02)


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) / 1000
