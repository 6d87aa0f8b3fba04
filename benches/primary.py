#!/usr/bin/env python3
"""primary.py DIRECTORY [OPERATIONS]: a primary server that starts with many operations unfinished.

Two real domains; one image is backed up under a policy that replicates it while the partner is down, and its rows in the
catalog are copied until so many operations wait (100,000 unless said). Prints one JSON object: seconds from the start of the
process until it is ready, and until the image that really is in the pool has been replicated after the partner came back; CPU
of an idle server with the partner down, in percent of a core over twenty seconds; resident memory; size of the catalog.
"""
import json, os, shutil, sqlite3, sys, time, uuid

from two_domains import Two, cpu_seconds, resident_mb, stop

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


def multiply(catalog, count):
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
    two = Two(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    os.makedirs(two.work + "/tree")
    open(two.work + "/tree/file", "w").write("a file\n" * 1000)
    two.ctl("slp", "apply", "-f", "-", text=POLICY)
    stop(two.b)
    image = two.ctl("backup", "--slp", "far", two.work + "/tree")["image"]
    while "waiting" not in two.ctl("image", "show", image)["operations"][1]["state"]:
        time.sleep(0.1)
    stop(two.a)
    multiply(two.work + "/a/catalog.sqlite", count)

    server, ready = two.start("a")
    time.sleep(5)
    before = cpu_seconds(server.pid)
    time.sleep(20)
    idle = (cpu_seconds(server.pid) - before) / 20 * 100
    resident = resident_mb(server.pid)
    stop(server.pid)
    server.wait()

    partner, _ = two.start("b")
    begun = time.monotonic()
    server, _ = two.start("a")
    while two.ctl("image", "show", image)["operations"][1]["state"] != "complete":
        time.sleep(0.05)
    submitted = time.monotonic() - begun
    for process in (server, partner):
        stop(process.pid)
        process.wait()
    print(json.dumps({"operations": count, "ready_seconds": round(ready, 2), "submitted_seconds": round(submitted, 2),
                      "idle_cpu_percent": round(idle, 1), "resident_mb": round(resident),
                      "catalog_mb": round(os.path.getsize(two.work + "/a/catalog.sqlite") / 1e6)}))
    shutil.rmtree(two.work)


main()
