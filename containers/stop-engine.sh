#!/usr/bin/env bash
# Stops the dockerd that install-engine.sh started, and no other.
set -euo pipefail

state_dir=${STORMPROOF_ENGINE_DIR:-/run/stormproof-engine}
pid_file=$state_dir/dockerd.pid
stop_within_s=30

if [ ! -f "$pid_file" ]; then
  echo "stop-engine: nothing to stop: no engine was started by install-engine.sh"
  exit 0
fi
read -r pid started <"$pid_file"
running() {
  [ -r "/proc/$pid/stat" ] && [ "$(awk '{print $22}' "/proc/$pid/stat")" = "$started" ]
}
if running; then
  kill "$pid"
  for _ in $(seq $((stop_within_s * 5))); do
    running || break
    sleep 0.2
  done
  if running; then
    echo "stop-engine: dockerd $pid did not end within $stop_within_s s" >&2
    exit 1
  fi
fi
rm -f "$pid_file"
echo "stop-engine: dockerd $pid stopped"
