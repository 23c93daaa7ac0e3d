#!/usr/bin/env bash
# Makes .venv from requirements.lock: every package with its hash, then our own without dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'error: %s\n  value: %s\n  next: %s\n' "$1" "$2" "$3" >&2; exit 1; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "no Python" "$python" "install Python 3.11 or newer, or: make PYTHON=/path/to/python"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "Python is too old" "$version" "install Python 3.11 or newer, or: make PYTHON=/path/to/python"

lock_hash=$("$python" -c 'import hashlib; print(hashlib.sha256(open("requirements.lock", "rb").read()).hexdigest())')
if [ ! -x .venv/bin/python ]; then
  if command -v uv >/dev/null; then
    uv venv --quiet --python "$python" .venv
  else
    "$python" -m venv .venv || fail "no virtual environment could be made" "$version" \
      "on Debian and Ubuntu: apt-get install python3-venv"
  fi
fi
# A .venv that uv made holds no pip.
if ! command -v uv >/dev/null && ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  .venv/bin/python -m ensurepip --upgrade >/dev/null
fi
if [ "$(cat .venv/.lock 2>/dev/null)" != "$lock_hash" ]; then
  if command -v uv >/dev/null; then
    uv pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode requirements.lock
  else
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
  fi
  printf '%s' "$lock_hash" > .venv/.lock
fi
# Our own package names its dependencies for others; here the lock has decided.
if command -v uv >/dev/null; then
  uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
else
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
fi
.venv/bin/python -m compileall -q harness fault_injection load chaos_scenarios reports system_under_test || true
touch .venv/.ready
