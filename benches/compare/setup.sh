#!/usr/bin/env bash
# setup.sh DIR_A DIR_B: two running, paired domains `a` and `b` with a client each and an SLP `bench` in both (backup in `a`
# without replication, import in `b`). Prints the two servers' process ids last. Contexts go to $XDG_CONFIG_HOME/narrows.
set -euo pipefail
bin=${NARROWS_BIN:-$(dirname "$0")/../../target/release}
memory=${NARROWS_BENCH_MEMORY:-1GiB}
mean=${NARROWS_BENCH_SEGMENT_MEAN:-32KiB}

free_port() {
  python3 - <<'PY'
import socket
while True:
    first = socket.socket(); first.bind(("127.0.0.1", 0)); port = first.getsockname()[1]
    try:
        second = socket.socket(); second.bind(("127.0.0.1", port + 1)); print(port); break
    except OSError:
        continue
PY
}

start() { # NAME DIR: sets $pid
  "$bin/narrowsd" init --domain "$1" --data "$2" --listen "127.0.0.1:$(free_port)" --memory "$memory" --segment-mean "$mean" >/dev/null
  "$bin/narrowsd" run --data "$2" 2>"$2.log" >/dev/null </dev/null &
  pid=$!
  until grep -qs "narrowsd is ready" "$2.log"; do
    kill -0 "$pid" || { cat "$2.log" >&2; exit 1; }
    read -rt 0.05 <> <(:) || true
  done
  "$bin/narrowsctl" context add "$1" --from "$2/admin/context.toml" >/dev/null
}

start a "$1"; pid_a=$pid
start b "$2"; pid_b=$pid
line=$("$bin/narrowsctl" --context a domain invite --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["line"])')
"$bin/narrowsctl" --context b domain pair "$line" >/dev/null
"$bin/narrowsctl" --context a client enroll bench-a >/dev/null
"$bin/narrowsctl" --context b client enroll bench-b >/dev/null
"$bin/narrowsctl" --context a slp apply -f - >/dev/null <<'SLP'
name = "bench"
[[operation]]
id = "backup"
kind = "backup"
storage = "default"
retention = { fixed = "30d" }
SLP
"$bin/narrowsctl" --context b slp apply -f - >/dev/null <<'SLP'
name = "bench"
[[operation]]
id = "import"
kind = "import"
storage = "default"
retention = { target = {}, at_least = "1d", at_most = "1y" }
SLP
echo "$pid_a $pid_b"
