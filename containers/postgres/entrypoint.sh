#!/usr/bin/env bash
# First start: creates the cluster from POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB.
# Arguments: options for the server, or another command to run instead of it.
set -euo pipefail

[ $# -gt 0 ] && [ "${1#-}" = "$1" ] || set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ "$(id -u)" = 0 ]; then
  # The server refuses to run as root; a mounted volume may belong to it.
  install -d -m 700 -o postgres -g postgres "$PGDATA"
  chown postgres:postgres /var/lib/postgresql /var/run/postgresql
  exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo "POSTGRES_PASSWORD is not set: a database without a password is not created" >&2
    exit 1
  fi
  initdb --pgdata="$PGDATA" --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  if [ "$database" != postgres ]; then
    # Single-user mode: nobody can connect before the database is there.
    printf 'CREATE DATABASE "%s"\n' "${database//\"/\"\"}" |
      postgres --single -j -D "$PGDATA" postgres >/dev/null
  fi
fi

shift
exec postgres -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql,/tmp "$@"
