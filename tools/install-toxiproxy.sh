#!/usr/bin/env bash
# Builds Toxiproxy's own server into .cache/toxiproxy, to compare ours with. Exit 3: it cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
version=2.12.0
target=.cache/toxiproxy

if [ -x "$target/toxiproxy-server" ]; then
  echo "$target/toxiproxy-server is there"
  exit 0
fi
go=$(command -v go || true)
[ -n "$go" ] || { [ -x /usr/local/go/bin/go ] && go=/usr/local/go/bin/go; } || true
if [ -z "$go" ]; then
  echo "no Go compiler: what needs Toxiproxy's own server is skipped" >&2
  exit 3
fi
mkdir -p "$target"
module=github.com/Shopify/toxiproxy/v2
for command in server cli; do
  GOBIN="$PWD/$target" timeout 300 "$go" install \
    -ldflags "-s -w -X $module.Version=$version" "$module/cmd/$command@v$version" || {
    echo "Toxiproxy $version could not be built (code $?): what needs it is skipped" >&2
    exit 3
  }
  mv "$target/$command" "$target/toxiproxy-$command"
done
echo "$target/toxiproxy-server"
