#!/usr/bin/env bash
# The daemon on a GPU: two tiny synthetic models, one greedy and one seeded question, each asked with
# speculation and without; the answers must be the same, and the drafts accepted sometimes.
#
# usage: scripts/gpu-daemon.sh BUILD [cuda|cpu]     BUILD has specd and synth-model
. "$(dirname "$0")/lib.sh"
B=${1:?usage: gpu-daemon.sh BUILD [cuda|cpu]}
DEVICE=${2:-cuda}
PORT=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

shape=(--embd 128 --heads 4 --kv-heads 2 --ff 256 --vocab 512 --ctx 1024 --seed 7)
"$B/synth-model" "${shape[@]}" --layers 1 "$work/draft.gguf"
"$B/synth-model" "${shape[@]}" --layers 3 --keep 1 --eps 0.2 "$work/target.gguf"
"$B/specd" -m "$work/target.gguf" -md "$work/draft.gguf" --device "$DEVICE" -c 512 --host 127.0.0.1 \
    --port "$PORT" &
server=$!

python3 - "http://127.0.0.1:$PORT" $server <<'PY' || die "the daemon's answers" "its log is above"
import json, sys, time, urllib.error, urllib.request

url, pid = sys.argv[1:]


def ready():
    try:
        return urllib.request.urlopen(url + "/ready", timeout=2).status == 200
    except (urllib.error.URLError, OSError):
        return False


def ask(speculate, **fields):
    body = {"prompt": "one two three", "max_tokens": 64, "speculative": {"enabled": speculate}}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body | fields).encode(),
                                     {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))


for _ in range(300):
    if ready():
        break
    if open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z":
        sys.exit("it ended at its start")
    time.sleep(0.2)
bad = 0
for fields in ({"temperature": 0}, {"temperature": 1, "seed": 11}):
    on, off = ask(True, **fields), ask(False, **fields)
    same = on["choices"][0]["text"] == off["choices"][0]["text"]
    print("RESULT daemon", " ".join(f"{k}={v}" for k, v in fields.items()), f"same={same}",
          f"speculative={json.dumps(on.get('speculative', {})).replace(' ', '')}")
    bad += not same
sys.exit(bad)
PY
kill "$server" && wait "$server" || die "the daemon did not end cleanly" "its log is above"
server=
