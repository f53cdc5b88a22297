#!/usr/bin/env bash
# Format, lints, tests, examples. `--real` installs the real clients (Debian packages) and runs the scenarios with them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

real=
for argument in "$@"; do
  case $argument in
    --real) real=1 ;;
    *) echo "usage: ./test.sh [--real]" >&2; exit 2 ;;
  esac
done

step() { printf '\n== %s\n' "$*"; }

if ! command -v cargo >/dev/null 2>&1; then
  echo "test.sh: \`cargo\` is missing: install Rust 1.90 or later with rustup" >&2
  exit 1
fi
if ! command -v cc >/dev/null 2>&1; then
  echo "test.sh: a C compiler is missing: \`apt-get install gcc\`" >&2
  exit 1
fi

if [ -n "$real" ]; then
  step "real clients"
  testing/real-clients.sh
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

step "quickstart"
./quickstart.sh

if [ -n "$(git status --porcelain 2>/dev/null)" ]; then
  echo "test.sh: the run changed the checkout:" >&2
  git status --porcelain >&2
  exit 1
fi
