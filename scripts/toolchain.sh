#!/usr/bin/env bash
# Is there such a Rust? `toolchain.sh nightly`, `toolchain.sh 1.88.0`. Asks rustup for one that is not there;
# 1, and why, if none can be had.
set -euo pipefail
want=$1

there() { rustc "+$want" --version >/dev/null 2>&1 </dev/null; }

there && exit 0
command -v rustup >/dev/null || { echo "   no Rust $want, and no rustup to fetch it" >&2; exit 1; }
echo "   fetching Rust $want with rustup" >&2
timeout 180 rustup toolchain install "$want" --profile minimal --no-self-update >/dev/null 2>&1 </dev/null && there && exit 0
echo "   rustup could not fetch Rust $want" >&2
exit 1
