#!/usr/bin/env bash
# The native Envoy module: `native.sh build FILE` leaves the library in FILE, `native.sh panics` that of the test that
# panics on request in target/panics/libcohort.so, `native.sh peers` the small modules of `make bench` in
# target/peers, `native.sh clippy` checks the edge and those, and `native.sh link ...` is the linker of the others.
#
# TARGET names another machine, such as aarch64-unknown-linux-gnu (needs its library from rustup, and its linker:
# Debian's gcc-aarch64-linux-gnu).
set -euo pipefail
cd "$(dirname "$0")/.."

do=${1:-build}
shift || true
target=${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}

say() { echo "   $*" >&2; }

# A distroless image has no libgcc_s.so.1: what unwinds the stack is linked in, from libgcc_eh.a.
link() {
    local arguments=() argument compiler=cc
    [ "$(uname -m)" = "${COHORT_LINK_FOR%%-*}" ] || compiler=${COHORT_LINK_FOR%%-*}-linux-gnu-gcc
    for argument in "$@"; do
        [ "$argument" = -lgcc_s ] && argument=-lgcc_eh
        arguments+=("$argument")
    done
    exec "$compiler" "${arguments[@]}"
}

build() {
    local variable=CARGO_TARGET_${target^^}_LINKER flags="" folder
    export COHORT_LINK_FOR=$target "${variable//-/_}=$PWD/target/native-linker"
    mkdir -p target
    printf '#!/bin/sh\nexec "%s" link "$@"\n' "$PWD/scripts/native.sh" >target/native-linker
    chmod +x target/native-linker
    # No folder of this machine in the messages of a panic.
    cargo fetch --quiet
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        flags+="--remap-path-prefix=$folder=crates"$'\x1f'
    done
    CARGO_ENCODED_RUSTFLAGS=${flags%$'\x1f'} cargo build --lib --target "$target" "$@"
}

# The last name changes at once, so that an Envoy that has the old one loaded keeps it whole.
place() {
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new"
    mv "$2.new" "$2"
    say "$(wc -c <"$2" | tr -d ' ') bytes; needs $(readelf -d "$2" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | paste -sd ' ')"
}

case $do in
    link) link "$@" ;;
    build)
        build --profile native --no-default-features --features native
        place "target/$target/native/libcohort.so" "${1:?usage: native.sh build FILE}"
        ;;
    panics)
        # For one test: nothing is gained by optimising it, as the other tests are.
        build --no-default-features --features native-panics --config profile.dev.package.cohort.opt-level=0
        mkdir -p target/panics
        place "target/$target/debug/libcohort.so" target/panics/libcohort.so
        ;;
    peers)
        # They run on this machine only, beside what they are compared with.
        mkdir -p target/peers
        for peer in noop sets reads counts; do
            features=()
            [ $peer = noop ] || features=(--features $peer)
            cargo build --quiet --release --manifest-path benches/peers/native/Cargo.toml \
                --target-dir target/peers "${features[@]}"
            cp target/peers/release/libnative_peers.so target/peers/$peer.so
        done
        ;;
    clippy)
        cargo clippy --quiet --lib --no-default-features --features native -- -D warnings
        cargo clippy --quiet --manifest-path benches/peers/native/Cargo.toml --target-dir target/peers \
            --all-features -- -D warnings
        ;;
    *)
        say "usage: native.sh build FILE|panics|peers|clippy"
        exit 2
        ;;
esac
