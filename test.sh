#!/usr/bin/env bash
# Format, lints, tests, examples. `--real` installs the real clients (Debian packages, as root) and runs the scenarios
# with them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

real=
for argument in "$@"; do
  case $argument in
    --real) real=1 ;;
    *) echo "usage: ./test.sh [--real]" >&2; exit 2 ;;
  esac
done

missing() { # missing WHAT HOW-TO-GET-IT
  echo "test.sh: $1 is missing: $2" >&2
  exit 1
}
rust="install it with rustup (https://rustup.rs)"
command -v cargo >/dev/null 2>&1 || missing "\`cargo\`" "$rust"
version=$(cargo --version | sed 's/^cargo [0-9]*\.\([0-9]*\).*/\1/')
[ "$version" -ge 90 ] || missing "Rust 1.90 or later ($(cargo --version) is here)" "$rust"
cargo fmt --version >/dev/null 2>&1 || missing "\`rustfmt\`" "\`rustup component add rustfmt\`"
cargo clippy --version >/dev/null 2>&1 || missing "\`clippy\`" "\`rustup component add clippy\`"
command -v cc >/dev/null 2>&1 || command -v "${CC:-cc}" >/dev/null 2>&1 ||
  missing "a C compiler" "\`apt-get install gcc libc6-dev\`, \`dnf install gcc\` or \`xcode-select --install\`"
if [ -n "$real" ] && [ "$(id -u)" -ne 0 ]; then
  echo "test.sh: \`--real\` starts daemons and containers: run it as root" >&2
  exit 1
fi

step() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS"; }
checkout() { git status --porcelain 2>/dev/null || true; }
before=$(checkout)

if [ -n "$real" ]; then
  step "real clients"
  testing/real-clients.sh
  # From here on a client that is missing is a failure, not a test left out; only what wants docker's CLI 28 says
  # `skipped` where there is another one, as on Debian 12 (20.10).
  export POLYARCH_REAL=1
fi

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

step "licences"
if command -v cargo-deny >/dev/null 2>&1; then
  cargo deny --log-level error check licenses bans sources
else
  echo "skipped: no cargo-deny"
fi

step "tests"
cargo test --workspace --locked --quiet

if [ -n "$real" ]; then
  step "OCI conformance"
  testing/conformance.sh
fi

if [ -n "$real" ] || [ -n "${POLYARCH_FUZZ:-}" ]; then
  step "fuzz targets, ${POLYARCH_FUZZ:-60} s each"
  testing/fuzz.sh
fi

step "quickstart"
./quickstart.sh

if [ -n "$real" ] && [[ $(docker --version) != "Docker version 28."* ]]; then
  step "skipped: the comparison with docker's CLI 28, for $(docker --version) is here"
fi

if [ "$(checkout)" != "$before" ]; then
  echo "test.sh: the run changed the checkout:" >&2
  checkout >&2
  exit 1
fi
step "all green"
