#!/usr/bin/env python3
"""imports.py DIRECTORY [SEGMENTS]: what an import costs the target, by the size of the image.

Two real domains. Backed up are streams of 1 MiB of noise, of 1 GiB in which no byte repeats, and of so many segments
(10,000,000 unless said): 64 MiB of noise over and over, so that it is large for everything but the disk. Each is replicated
and imported. Prints one JSON object: for each, logical bytes; the milliseconds that the target took from the record in its
image log to the commit of its catalog, as its log says; and for all of the replication, from when it begins until the
confirmation is known, the target's CPU seconds and the bytes that it read from its disks.
"""
import json, os, re, shutil, subprocess, sys

from two_domains import Two, bin_dir, cpu_seconds, stop

MIB = 1 << 20
MEAN = 8 << 10
UNITS = {"ns": 1e-6, "µs": 1e-3, "ms": 1, "s": 1e3}


def back_up(two, name, blocks):
    """Streams the blocks; image and logical bytes."""
    command = [bin_dir + "/narrowsctl", "--context", "a", "--json", "backup", "--slp", "bench", "--stdin", "--name", name]
    process = subprocess.Popen(command, env=two.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    logical = 0
    for block in blocks:
        process.stdin.write(block)
        logical += len(block)
    process.stdin.close()
    printed = process.stdout.read()
    assert process.wait() == 0
    return json.loads(printed.splitlines()[-1])["image"], logical


def taken_in(log):
    """Milliseconds of each record that the server has taken in so far."""
    times = re.findall(r"a record was taken in.*?took=([\d.]+)(ns|µs|ms|s)\b", log)
    return [float(number) * UNITS[unit] for number, unit in times]


def bytes_read(pid):
    return int(re.search(r"^read_bytes: (\d+)", open(f"/proc/{pid}/io").read(), re.M)[1])


def main():
    two = Two(sys.argv[1], NARROWS_BENCH_SEGMENT_MEAN="8KiB", NARROWS_LOG="info,narrows_server::importer=debug")
    segments = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000
    again = os.urandom(64 * MIB)
    sizes = {"small": [os.urandom(MIB)], "all_new": (os.urandom(16 * MIB) for _ in range(64)),
             "large": (again for _ in range(segments * MEAN // len(again)))}
    result = {}
    for name, blocks in sizes.items():
        image, logical = back_up(two, name, blocks)
        records = len(taken_in(open(two.work + "/b.log").read()))
        cpu, read = cpu_seconds(two.b), bytes_read(two.b)
        two.ctl("image", "replicate", image, "--to-domain", "b", "--wait")
        took = taken_in(open(two.work + "/b.log").read())[records:]
        assert took, "the target's log tells of no import"
        result[name] = {"logical_bytes": logical, "import_ms": round(max(took), 2),
                        "replication_cpu_seconds": round(cpu_seconds(two.b) - cpu, 2),
                        "replication_read_bytes": bytes_read(two.b) - read}
    for pid in (two.a, two.b):
        stop(pid)
    print(json.dumps(result))
    shutil.rmtree(two.work)


main()
