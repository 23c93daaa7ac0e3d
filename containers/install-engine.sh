#!/usr/bin/env bash
# Makes a container engine answer: installs Debian's docker.io where that is possible, starts
# dockerd when none runs. Safe to run again. Exit 0: an engine is usable. Exit 3: none could be
# had. Exit 2: usage.
#
#   containers/install-engine.sh [--no-install]
set -euo pipefail

state_dir=${STORMPROOF_ENGINE_DIR:-/run/stormproof-engine}
log_file=$state_dir/dockerd.log
pid_file=$state_dir/dockerd.pid
ready_within_s=${STORMPROOF_ENGINE_READY_S:-60}
install=yes

say() { printf 'install-engine: %s\n' "$*"; }
give_up() { printf 'install-engine: no container engine: %s\n' "$*" >&2; exit 3; }

case ${1:-} in
  '') ;;
  --no-install) install=no ;;
  -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "install-engine: unknown argument '$1' (see --help)" >&2; exit 2 ;;
esac

answers() { timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }
compose_there() { docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null; }

report() {
  say "engine $(answers), client $(docker version --format '{{.Client.Version}}')" \
    "($(command -v docker)), API $(docker version --format '{{.Client.APIVersion}}')"
  if docker compose version >/dev/null 2>&1; then
    say "compose: docker compose $(docker compose version --short)"
  fi
  if command -v docker-compose >/dev/null; then
    say "compose: docker-compose $(docker-compose version --short 2>/dev/null)"
  fi
}

install_packages() {
  local missing=() package_of
  for package_of in dockerd:docker.io docker-compose:docker-compose debootstrap:debootstrap; do
    command -v "${package_of%%:*}" >/dev/null || missing+=("${package_of#*:}")
  done
  # iptables only as a recommendation of docker.io, but no published port works without it.
  command -v iptables >/dev/null || missing+=(iptables)
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  timeout 300 apt-get update -qq >>"$log_file" 2>&1 ||
    say "apt-get update failed, trying with the lists that are there (log: $log_file)"
  DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -qq -y --no-install-recommends \
    "${missing[@]}" >>"$log_file" 2>&1 ||
    { tail -n 5 "$log_file" >&2; give_up "apt-get install ${missing[*]} failed (log: $log_file)"; }
}

# Without an init system nothing mounts the control groups; dockerd needs them.
mount_control_groups() {
  mountpoint -q /sys/fs/cgroup && return
  mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null ||
    give_up "/sys/fs/cgroup cannot be mounted (is this an unprivileged container?)"
}

storage_driver() {
  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || true
  # overlay on overlay (a container without a volume for /var/lib/docker) is refused by the kernel.
  local under
  mkdir -p /var/lib/docker
  under=$(stat -f -c %T /var/lib/docker)
  if grep -qw overlay /proc/filesystems && [ "$under" != overlayfs ]; then
    echo overlay2
  else
    echo vfs
  fi
}

# Kernels without the legacy tables answer to the nft variant only, old ones to legacy only.
choose_iptables() {
  iptables -w 5 -t nat -L -n >/dev/null 2>&1 && return
  local other
  for other in iptables-legacy iptables-nft; do
    if command -v "$other" >/dev/null && "$other" -w 5 -t nat -L -n >/dev/null 2>&1; then
      update-alternatives --set iptables "$(command -v "$other")" >>"$log_file"
      say "iptables: $other"
      return
    fi
  done
  give_up "iptables cannot list the nat table, so no port could be published"
}

start_engine() {
  local driver pid waited_tenths=0
  mount_control_groups
  choose_iptables
  driver=$(storage_driver)
  # A daemon of its own session: it must outlive this script and the shell that called it.
  setsid dockerd --storage-driver "$driver" --pidfile /var/run/docker.pid \
    >>"$log_file" 2>&1 </dev/null &
  pid=$!
  say "starting dockerd (storage driver $driver, pid $pid, log $log_file)"
  while ! answers >/dev/null; do
    if ! kill -0 "$pid" 2>/dev/null; then
      tail -n 5 "$log_file" >&2
      give_up "dockerd ended at its start (log: $log_file)"
    fi
    waited_tenths=$((waited_tenths + 2))
    if [ "$waited_tenths" -ge $((ready_within_s * 10)) ]; then
      kill "$pid"
      give_up "dockerd did not answer within $ready_within_s s (log: $log_file)"
    fi
    sleep 0.2
  done
  # pid and start time: a later stop must not end a stranger that got the same pid.
  echo "$pid $(awk '{print $22}' "/proc/$pid/stat")" >"$pid_file"
}

if command -v docker >/dev/null && answers >/dev/null && compose_there; then
  say "an engine answers already"
  report
  exit 0
fi

[ "$(id -u)" = 0 ] || give_up "needs root to install or start one (user: $(id -un))"
mkdir -p "$state_dir"
if [ "$install" = yes ]; then
  command -v apt-get >/dev/null || give_up "not a Debian or Ubuntu machine (no apt-get)"
  install_packages
fi
hash -r
command -v docker >/dev/null || give_up "the docker client is not installed"
if ! answers >/dev/null; then
  command -v dockerd >/dev/null || give_up "dockerd is not installed"
  # Debian's package may just have started one through the init system.
  start_engine
fi
compose_there || give_up "neither 'docker compose' nor docker-compose is installed"
report
