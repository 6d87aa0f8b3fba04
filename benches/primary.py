#!/usr/bin/env python3
"""primary.py DIRECTORY [OPERATIONS]: a primary server that starts with many operations unfinished.

Two real domains; one image is backed up under a policy that replicates it while the partner is down, and its rows in the
catalog are copied until so many operations wait (100,000 unless said). Prints one JSON object: seconds from the start of the
process until it is ready, and until the image that really is in the pool has been replicated after the partner came back; CPU
of an idle server with the partner down, in percent of a core over twenty seconds; resident memory; size of the catalog.
"""
import json, os, re, shutil, signal, sqlite3, subprocess, sys, time, uuid

here = os.path.dirname(os.path.abspath(__file__))
bin_dir = os.environ.get("NARROWS_BIN", os.path.join(here, "../target/release"))
work = os.path.abspath(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
env = dict(os.environ, XDG_CONFIG_HOME=work + "/config", XDG_CACHE_HOME=work + "/cache", NARROWS_BIN=bin_dir)
POLICY = """name = "far"
[[operation]]
id = "backup"
kind = "backup"
storage = "default"
retention = { fixed = "30d" }
[[operation]]
id = "to-b"
kind = "replication"
source = "backup"
target = { domain = "b", import_slp = "bench" }
retention = { fixed = "90d" }
"""


def ctl(*words, text=None):
    command = [bin_dir + "/narrowsctl", "--context", "a", "--json", *words]
    return json.loads(subprocess.run(command, env=env, input=text, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def start(name):
    """Starts a server; its process and the seconds until it was ready."""
    begun = time.monotonic()
    log = open(f"{work}/{name}.bench.log", "ab+")
    offset = log.seek(0, 2)
    process = subprocess.Popen([bin_dir + "/narrowsd", "run", "--data", f"{work}/{name}"], stderr=log, stdin=subprocess.DEVNULL)
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


def multiply(catalog):
    """Copies the one image with its operations; each copy is younger than it by a second."""
    db = sqlite3.connect(catalog)
    names = {t: [row[1] for row in db.execute(f"PRAGMA table_info({t})")] for t in ("images", "copies", "operations")}
    rows = {t: dict(zip(names[t], db.execute(f"SELECT {','.join(names[t])} FROM {t} WHERE {key}").fetchone()))
            for t, key in (("images", "1"), ("copies", "1"), ("operations", "kind = 'replication'"))}
    assert rows["operations"]["state"] == "waiting", rows["operations"]
    second = 1_000_000_000

    def copies(table):
        for number, id in enumerate(ids, 1):
            row = dict(rows[table])
            row["id" if table == "images" else "image"] = id
            if table == "images":
                row["started"] += number * second
                row["started_second"] += number
            if table == "operations":
                row["age"] += number * second
            yield tuple(row.values())

    ids = [uuid.uuid4().bytes for _ in range(count)]
    for table in rows:
        marks = ",".join("?" * len(names[table]))
        db.executemany(f"INSERT INTO {table} ({','.join(names[table])}) VALUES ({marks})", copies(table))
    db.commit()
    db.close()


def main():
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work + "/tree")
    open(work + "/tree/file", "w").write("a file\n" * 1000)
    setup = subprocess.run(["bash", here + "/compare/setup.sh", work + "/a", work + "/b"], env=env, check=True, capture_output=True, text=True)
    a, b = map(int, setup.stdout.split()[-2:])
    ctl("slp", "apply", "-f", "-", text=POLICY)
    stop(b)
    image = ctl("backup", "--slp", "far", work + "/tree")["image"]
    while "waiting" not in ctl("image", "show", image)["operations"][1]["state"]:
        time.sleep(0.1)
    stop(a)
    multiply(work + "/a/catalog.sqlite")

    server, ready = start("a")
    time.sleep(5)
    before = cpu_seconds(server.pid)
    time.sleep(20)
    idle = (cpu_seconds(server.pid) - before) / 20 * 100
    resident = resident_mb(server.pid)
    stop(server.pid)
    server.wait()

    partner, _ = start("b")
    begun = time.monotonic()
    server, _ = start("a")
    while ctl("image", "show", image)["operations"][1]["state"] != "complete":
        time.sleep(0.05)
    submitted = time.monotonic() - begun
    for process in (server, partner):
        stop(process.pid)
        process.wait()
    print(json.dumps({"operations": count, "ready_seconds": round(ready, 2), "submitted_seconds": round(submitted, 2),
                      "idle_cpu_percent": round(idle, 1), "resident_mb": round(resident),
                      "catalog_mb": round(os.path.getsize(work + "/a/catalog.sqlite") / 1e6)}))
    shutil.rmtree(work)


main()
