#!/usr/bin/env python3
"""imports.py DIRECTORY [SEGMENTS]: what an import costs the target, by the size of the image.

Two real domains. A stream of 1 MiB of noise is backed up, and one of so many segments (10,000,000 unless said): 64 MiB of
noise over and over, so that it is large for everything but the disk. Both are replicated and imported. Prints one JSON object:
for each, logical bytes, the milliseconds from the event (the image is durable there) until it is in the catalog, and the
CPU seconds of the target from when the replication begins until the confirmation is known; the last is for all of the
replication, not for the import.
"""
import json, os, shutil, subprocess, sys

from two_domains import Two, bin_dir, cpu_seconds, stop

MIB = 1 << 20
MEAN = 8 << 10


def back_up(two, name, blocks, block):
    """Streams so many times the block."""
    command = [bin_dir + "/narrowsctl", "--context", "a", "--json", "backup", "--slp", "bench", "--stdin", "--name", name]
    process = subprocess.Popen(command, env=two.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for _ in range(blocks):
        process.stdin.write(block)
    process.stdin.close()
    printed = process.stdout.read()
    assert process.wait() == 0
    return json.loads(printed.splitlines()[-1])


def main():
    two = Two(sys.argv[1], NARROWS_BENCH_SEGMENT_MEAN="8KiB")
    segments = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000
    sizes = {"small": (1, os.urandom(MIB)), "large": (segments * MEAN // (64 * MIB), os.urandom(64 * MIB))}
    result = {}
    for name, (blocks, block) in sizes.items():
        image = back_up(two, name, blocks, block)["image"]
        before = cpu_seconds(two.b)
        two.ctl("image", "replicate", image, "--to-domain", "b", "--wait")
        timeline = two.ctl("image", "timeline", image, context="b")
        took = [step["took_ms"] for step in timeline["steps"] if step["what"].startswith("import")]
        result[name] = {"logical_bytes": blocks * len(block), "import_ms": took[-1],
                        "replication_cpu_seconds": round(cpu_seconds(two.b) - before, 2)}
    for pid in (two.a, two.b):
        stop(pid)
    print(json.dumps(result))
    shutil.rmtree(two.work)


main()
