#!/usr/bin/env bash
# Fuzzes every target, or those named, for SECONDS_EACH seconds (default 60): `fuzz/run.sh [TARGET...]`.
# FUZZ_FLAGS: more for libFuzzer, such as -seed=1.
#
# Needs a nightly compiler, and nothing else: what cargo-fuzz would tell the compiler stands here. New inputs
# go to fuzz/corpus, a crash to fuzz/artifacts; the committed seeds are read and left alone.
set -euo pipefail
cd "$(dirname "$0")"
# The module that ships, for `twins`.
if [ -z "${COHORT_WASM:-}" ]; then
    make --no-print-directory -C .. target/cohort.wasm
    export COHORT_WASM=$PWD/../target/cohort.wasm
fi

host=$(rustc +nightly -vV | sed -n 's/^host: //p')
# Looked into is what reads bytes, and nothing else: an interpreter's jumps say nothing of the filter. (What is
# generic of serde_json is compiled with the filter; by itself its build script would be looked into as well.)
coverage="'-Cpasses=sancov-module', '-Cllvm-args=-sanitizer-coverage-level=4', \
'-Cllvm-args=-sanitizer-coverage-inline-8bit-counters', '-Cllvm-args=-sanitizer-coverage-pc-table', \
'-Cllvm-args=-sanitizer-coverage-trace-compares', '-Ccodegen-units=1', '-Zsanitizer=address'"
looked_into=()
for crate in cohort cohort-fuzz regex-lite; do
    looked_into+=(--config "profile.release.package.$crate.rustflags=[$coverage]")
done
RUSTFLAGS="--cfg fuzzing" \
    cargo +nightly build --quiet --release --target "$host" -Z profile-rustflags "${looked_into[@]}"
# Not looked for: leaks (static tables stay to the end), and what no safe Rust does (a local used after its
# function's end, freed memory used long after).
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:malloc_context_size=1:quarantine_size_mb=8
targets=("$@")
if [ ${#targets[@]} = 0 ]; then targets=(config cookie baggage url request guard twins); fi
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "== $target, ${SECONDS_EACH:-60} s"
    "target/$host/release/$target" -max_total_time="${SECONDS_EACH:-60}" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="artifacts/$target/" ${FUZZ_FLAGS:-} "corpus/$target" "seeds/$target" 2>&1 |
        grep -E '^(==|stat::number_of|stat::average|.*(panicked|ERROR|SUMMARY|Test unit))' || true
    test -z "$(ls -A "artifacts/$target")" || { echo "found: fuzz/artifacts/$target"; exit 1; }
done
