#!/usr/bin/env bash
# Compiles the command and the filter with the oldest Rust that Cargo.toml promises (`rust-version`), from the
# crates of the lock file.
set -euo pipefail
cd "$(dirname "$0")/.."
target=wasm32-unknown-unknown
promised=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml).0
scripts/toolchain.sh "$promised"
check() { cargo "+$promised" check --quiet --locked --target-dir target/msrv "$@"; }
check --lib --bins
echo "   the command: $(rustc "+$promised" --version)"
rustup target add --toolchain "$promised" $target >/dev/null 2>&1 ||
    { echo "   the filter: NOT checked, rustup could not fetch the library of $target for Rust $promised" >&2; exit 1; }
check --lib --no-default-features --target $target
echo "   the filter, $target: $(rustc "+$promised" --version)"
