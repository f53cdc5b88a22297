#!/usr/bin/env bash
# From nothing to a multi-platform image in a registry: builds polyarch, serves a registry from it, packs one image per
# platform, assembles them with `manifest`, pushes, and shows the result. Leaves no process and no change in the checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

need() { # need COMMAND HOW-TO-GET-IT
  command -v "$1" >/dev/null 2>&1 || { echo "quickstart: \`$1\` is missing: $2" >&2; exit 1; }
}
need cargo "install Rust with rustup, or your system's package of Rust 1.90 or later"
need cc "install a C compiler (\`apt-get install gcc\`, \`dnf install gcc\`, \`xcode-select --install\`)"

echo "building (the first time this takes some minutes) …"
cargo build --quiet --release --locked -p polyarch-cli -p polyarch-hello

target=$(cargo metadata --format-version 1 --no-deps --offline --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
work=$target/quickstart.$$
mkdir -p "$work"
server=
finish() {
  status=$?
  trap - EXIT INT TERM
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT INT TERM

# Everything that the commands remember goes below `target/`, not into the home directory.
export PATH="$target/release:$PATH"
export DOCKER_CONFIG=$work/docker POLYARCH_DATA=$work/local POLYARCH_CACHE=$work/cache

run() { # prints the command, then its output
  printf '\n$ %s\n' "$*"
  "$@"
}

started=$(date +%s%N)

printf '\n$ polyarch serve --listen 127.0.0.1:0 --data %s &\n' "target/quickstart/registry"
polyarch serve --listen 127.0.0.1:0 --data "$work/registry" 2>"$work/serve.log" &
server=$!
for _ in $(seq 100); do
  registry=$(sed -n 's|.*listening on http://\([^ /]*\).*|\1|p' "$work/serve.log")
  [ -n "$registry" ] && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.05
done
cat "$work/serve.log"
[ -n "$registry" ] || { echo "quickstart: the registry did not start" >&2; exit 1; }

mkdir "$work/bin"
run polyarch-hello "$work/bin"

image=$registry/demo/hello
run polyarch pack --single --push -t "$image:v1" \
  "linux/amd64=$work/bin/hello-amd64" "linux/arm64=$work/bin/hello-arm64" \
  "linux/arm/v7=$work/bin/hello-arm-v7" "linux/riscv64=$work/bin/hello-riscv64"

run polyarch manifest create "$image:v1" "$image:v1-amd64" "$image:v1-arm64" "$image:v1-arm-v7" "$image:v1-riscv64"
run polyarch manifest annotate --variant v8 "$image:v1" "$image:v1-arm64"
run polyarch manifest inspect "$image:v1"
run polyarch manifest push --purge "$image:v1"

printf '\n# the list is gone from this side; this is what the registry answers:\n'
run polyarch manifest inspect "$image:v1"

case $(uname -s)/$(uname -m) in
  Linux/x86_64) suffix=amd64 ;;
  Linux/aarch64) suffix=arm64 ;;
  Linux/armv7l) suffix=arm-v7 ;;
  Linux/riscv64) suffix=riscv64 ;;
  *) suffix= ;;
esac
if [ -n "$suffix" ]; then
  printf '\n# and the program for this machine, straight from the pulled layers:\n'
  run polyarch pull "$image:v1-$suffix"
  run polyarch unpack "local:$image:v1-$suffix" "$work/rootfs"
  run "$work/rootfs/hello-$suffix"
else
  printf '\n# skipped: no program for %s to run\n' "$(uname -sm)"
fi

printf '\ndone in %d ms\n' $((($(date +%s%N) - started) / 1000000))
