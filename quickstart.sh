#!/usr/bin/env bash
# From nothing to a multi-platform image in a registry: builds polyarch, serves a registry from it, packs one image per
# platform, assembles them with `manifest`, pushes, and shows the result. Leaves no process and no change in the checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

missing() { # missing WHAT HOW-TO-GET-IT
  echo "quickstart: $1 is missing: $2" >&2
  exit 1
}
rust="install it with rustup (https://rustup.rs)"
command -v cargo >/dev/null 2>&1 || missing "\`cargo\`" "$rust"
version=$(cargo --version | sed 's/^cargo [0-9]*\.\([0-9]*\).*/\1/')
[ "$version" -ge 90 ] || missing "Rust 1.90 or later ($(cargo --version) is here)" "$rust"
command -v cc >/dev/null 2>&1 || command -v "${CC:-cc}" >/dev/null 2>&1 ||
  missing "a C compiler" "\`apt-get install gcc libc6-dev\`, \`dnf install gcc\` or \`xcode-select --install\`"

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
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Everything that the commands remember goes here, below `target/`, not into the home directory.
cd "$work"
export PATH="$target/release:$PATH"
export DOCKER_CONFIG=$work/docker POLYARCH_DATA=$work/local POLYARCH_CACHE=$work/cache

run() { # prints the command, then its output
  printf '\n$ %s\n' "$*"
  "$@"
}
milliseconds() {
  # The clock of bash 5; macOS has an older one, which knows whole seconds.
  local now=${EPOCHREALTIME-}
  if [ -n "$now" ]; then echo $((${now/[.,]/} / 1000)); else echo $((SECONDS * 1000)); fi
}
started=$(milliseconds)

printf '\n$ polyarch serve --listen 127.0.0.1:0 --data registry &\n'
: >serve.log
polyarch serve --listen 127.0.0.1:0 --data registry 2>>serve.log &
server=$!
registry=
for _ in {1..500}; do
  registry=$(sed -n 's|.*listening on http://\([^ /]*\).*|\1|p' serve.log)
  if [ -n "$registry" ] || ! kill -0 "$server" 2>/dev/null; then break; fi
  sleep 0.02
done
cat serve.log
[ -n "$registry" ] || { echo "quickstart: the registry did not start" >&2; exit 1; }

run mkdir bin
run polyarch-hello bin

image=$registry/demo/hello
run polyarch pack --single --push -t "$image:v1" \
  linux/amd64=bin/hello-amd64 linux/arm64=bin/hello-arm64 linux/arm/v7=bin/hello-arm-v7 linux/riscv64=bin/hello-riscv64

run polyarch manifest create "$image:v1" "$image:v1-amd64" "$image:v1-arm64" "$image:v1-arm-v7" "$image:v1-riscv64"
run polyarch manifest annotate --variant v8 "$image:v1" "$image:v1-arm64"
run polyarch manifest inspect "$image:v1"
run polyarch manifest push --purge "$image:v1"

printf '\n# The draft is gone from this side; this is what the registry answers:\n'
run polyarch manifest inspect "$image:v1"

case $(uname -s)/$(uname -m) in
  Linux/x86_64) platform=linux/amd64 ;;
  Linux/aarch64) platform=linux/arm64 ;;
  Linux/armv7l) platform=linux/arm/v7 ;;
  Linux/riscv64) platform=linux/riscv64 ;;
  *) platform= ;;
esac
if [ -n "$platform" ]; then
  printf '\n# Somewhere else, where nothing is yet: the program for this machine, straight from the pulled layers.\n'
  export POLYARCH_DATA=$work/elsewhere
  run polyarch pull "$image:v1"
  run polyarch unpack --platform "$platform" "local:$image:v1" rootfs
  run rootfs/hello
else
  printf '\n# skipped: no program for %s to run\n' "$(uname -sm)"
fi

printf '\ndone in %d ms\n' $(($(milliseconds) - started))
