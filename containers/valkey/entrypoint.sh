#!/usr/bin/env bash
# Arguments: options or a file for the server, or another command to run instead of it.
set -euo pipefail

case ${1:-} in
  '' | -* | *.conf) set -- valkey-server "$@" ;;
esac
case $1 in
  valkey-server | redis-server) ;;
  *) exec "$@" ;;
esac

if [ "$(id -u)" = 0 ]; then
  chown valkey:valkey /data
  exec setpriv --reuid valkey --regid valkey --init-groups "$0" "$@"
fi

server=$1
shift
# A configuration file must come first; the network of the container is the protection.
case ${1:-} in
  *.conf) exec "$server" "$1" --protected-mode no "${@:2}" ;;
  *) exec "$server" --protected-mode no "$@" ;;
esac
