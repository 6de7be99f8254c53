#!/usr/bin/env bash
# Runs the tests that look at the clock on other days than today: `dates.sh` does three years ahead and a leap day.
# Needs a C compiler, and a Linux whose C library takes LD_PRELOAD (tests/clock/clock.c moves the date).
# Call it by `make test-dates`, which builds everything and says which Envoy.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p target/clock
clock=$PWD/target/clock/clock.so
"${CC:-cc}" -O2 -Wall -Wextra -Werror -shared -fPIC -o "$clock" tests/clock/clock.c

# cargo itself keeps today's date: it compares the dates of files.
rust=(--lib --test cli --test decisions)
cargo test --quiet --no-run "${rust[@]}"

for day in "$(date -u -d '+3 years' +%Y-%m-%dT%H:%M:%SZ)" 2028-02-29T12:00:00Z; do
    moved=(env "CLOCK_OFFSET=$(($(date -d "$day" +%s) - $(date +%s)))" "LD_PRELOAD=$clock")
    shown=$("${moved[@]}" date -u +%Y-%m-%d)
    [ "$shown" = "${day%T*}" ] || { echo "the date is $shown instead of $day: $clock was not loaded" >&2; exit 1; }
    echo "== the tests that look at the clock, on $shown"
    runner=$(printf '"%s",' "${moved[@]}")
    # What a large file costs is the same on any day, and takes a minute to see.
    cargo test --quiet --config "target.'cfg(unix)'.runner = [${runner%,}]" "${rust[@]}" -- --skip what_a_file_costs
    "${moved[@]}" target/venv/bin/pytest tests/proxy -o cache_dir="$PWD/target/pytest-cache" -n "${JOBS:-2}" -m clock "$@"
done
