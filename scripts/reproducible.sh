#!/usr/bin/env bash
# Builds the last commit's filter in two folders of different names and compares the bytes.
#
# `reproducible.sh FILE` builds once and compares with FILE, such as one that was published; the compiler and
# wasm-opt must be the same ones.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() {
    mkdir -p "$work/$1"
    git archive HEAD | tar -x -C "$work/$1"
    (cd "$work/$1" && unset CARGO_TARGET_DIR && scripts/wasm.sh build >/dev/null) || exit 1
    sha256sum <"$work/$1/target/cohort.wasm" | cut -d' ' -f1
}

one=$(build here)
if [ $# -gt 0 ]; then
    other=$(sha256sum <"$1" | cut -d' ' -f1)
else
    other=$(build quite/another/folder)
fi
echo "$one"
echo "$other"
if [ "$one" != "$other" ]; then
    echo "not the same bytes: $(rustc --version), $(wasm-opt --version 2>/dev/null || echo no wasm-opt)" >&2
    exit 1
fi
echo "the same bytes: $(rustc --version), $(wasm-opt --version 2>/dev/null || echo no wasm-opt)"
