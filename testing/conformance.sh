#!/usr/bin/env bash
# Runs the conformance suite of the distribution specification against `polyarch serve`. The suite is a program of its own;
# OCI_CONFORMANCE is where it is. POLYARCH, if set, is the program that is tested; else it is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

suite=${OCI_CONFORMANCE:-}
if [ -z "$suite" ]; then
  echo "skipped: no OCI conformance suite (set OCI_CONFORMANCE)"
  exit 0
fi
case $suite in
  */*) suite=$(cd "$(dirname "$suite")" && pwd)/$(basename "$suite") ;;
  *) suite=$(command -v "$suite") || suite=$OCI_CONFORMANCE ;;
esac
[ -x "$suite" ] || { echo "conformance: \`$suite\` is no program" >&2; exit 1; }

polyarch=${POLYARCH:-}
if [ -z "$polyarch" ]; then
  cargo build --package polyarch-cli --locked --quiet
  target=$(cargo metadata --format-version 1 --no-deps --offline --locked |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
  polyarch=$target/debug/polyarch
fi

work=$(mktemp -d)
server=
end() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; } || true
  server=
}
trap 'end; rm -rf "$work"' EXIT

# conformance NAME LEAST VERSION SPARSE SERVE-ARGUMENT...: at least LEAST checks must pass, and none fail or be skipped.
conformance() {
  local name=$1 least=$2 version=$3 sparse=$4 address='' pass
  shift 4
  rm -rf "$work/run"
  mkdir -p "$work/run"
  "$polyarch" serve --listen 127.0.0.1:0 --data "$work/run/data" "$@" 2>"$work/run/serve.log" &
  server=$!
  for _ in $(seq 200); do
    address=$(sed -n 's|.*listening on http://||p' "$work/run/serve.log" | head -1)
    [ -z "$address" ] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
  done
  [ -n "$address" ] || { echo "conformance: \`polyarch serve $*\` does not listen:" >&2; cat "$work/run/serve.log" >&2; return 1; }
  # The suite's own result does not count what was skipped: the numbers decide.
  (
    cd "$work/run"
    OCI_REGISTRY=$address OCI_TLS=disabled OCI_REPO1=conformance/a OCI_REPO2=conformance/b OCI_VERSION=$version \
      OCI_DATA_SPARSE=$sparse OCI_RESULTS_DIR=$work/run/out "$suite" >"$work/run/report" 2>&1
  ) || true
  end
  count() { sed -n "s/^ *$1\.\.* *: *\([0-9][0-9]*\)\$/\1/p" "$work/run/report" | head -1; }
  pass=$(count Pass)
  if [ "${pass:-0}" -ge "$least" ] && [ "$(count FAIL)" = 0 ] && [ "$(count Skip)" = 0 ] && [ "$(count Error)" = 0 ]; then
    printf 'conformance %-14s %4d passed, 0 failed, 0 skipped\n' "$name" "$pass"
    return 0
  fi
  echo "conformance $name: ${pass:-none} passed (at least $least must), $(count FAIL) failed, $(count Skip) skipped" >&2
  grep -E ': *(FAIL|Skip|Error)$' "$work/run/report" | head -40 >&2 || tail -20 "$work/run/report" >&2
  tail -20 "$work/run/serve.log" >&2
  return 1
}

conformance 1.1 860 1.1 false
conformance dev 986 dev false
conformance "dev, sparse" 1032 dev true --references sparse
