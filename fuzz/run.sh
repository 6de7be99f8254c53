#!/usr/bin/env bash
# Fuzzes every target, or those named, for SECONDS_EACH seconds (default 60): `fuzz/run.sh [TARGET...]`.
#
# Needs a nightly compiler, and nothing else: what cargo-fuzz would tell the compiler stands here. New inputs
# go to fuzz/corpus, a crash to fuzz/artifacts; the committed seeds are read and left alone.
set -euo pipefail
cd "$(dirname "$0")"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Zsanitizer=address"
# Leaks are not looked for: static tables stay to the end.
export ASAN_OPTIONS=detect_leaks=0
cargo +nightly build --quiet --release --target "$host"
targets=("$@")
if [ ${#targets[@]} = 0 ]; then targets=(config cookie baggage url request guard); fi
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "== $target, ${SECONDS_EACH:-60} s"
    "target/$host/release/$target" -max_total_time="${SECONDS_EACH:-60}" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="artifacts/$target/" "corpus/$target" "seeds/$target" 2>&1 |
        grep -E '^(==|stat::number_of|stat::average|.*(panicked|ERROR|SUMMARY|Test unit))' || true
    test -z "$(ls -A "artifacts/$target")" || { echo "found: fuzz/artifacts/$target"; exit 1; }
done
