#!/usr/bin/env bash
# Runs each fuzz target, or those that are named, for POLYARCH_FUZZ seconds (60), as many at once as there are processors.
# Needs cargo-fuzz (`cargo install cargo-fuzz`) and a C++ compiler; stable Rust will do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${POLYARCH_FUZZ:-60}
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "skipped: no cargo-fuzz"
  exit 0
fi
if ! command -v "${CXX:-c++}" >/dev/null 2>&1; then
  echo "skipped: no C++ compiler for libFuzzer"
  exit 0
fi
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(ls fuzz/corpus); fi

# No sanitizer: there is no unsafe code of ours to watch, and the sanitizers want a nightly toolchain.
cargo fuzz build --sanitizer none >/dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
one() {
  local target=$1 found=$work/$1
  mkdir -p "$found"
  # What is new goes to the first directory; the seeds stay as they are.
  if cargo fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- -max_total_time="$seconds" \
    -timeout=10 -rss_limit_mb=1024 -max_len=16384 -print_final_stats=1 >"$work/$target.log" 2>&1; then
    sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log" |
      awk -v name="$target" -v seconds="$seconds" '{ printf "%-10s %9d runs, %7d/s, nothing found\n", name, $1, $1 / (seconds + 1) }'
  else
    grep -aE 'panicked|assertion|left:|right:|ERROR|SUMMARY|Output of|artifact_prefix|timeout|out-of-memory' "$work/$target.log" |
      head -30 >&2
    echo "fuzz: $target found something; what it choked on is in fuzz/artifacts/$target" >&2
    return 1
  fi
}
failed=0
running=0
for target in "${targets[@]}"; do
  one "$target" &
  running=$((running + 1))
  if [ "$running" -ge "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
exit "$failed"
