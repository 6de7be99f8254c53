#!/usr/bin/env bash
# The filter for wasm32: `wasm.sh build` leaves target/cohort.wasm, `wasm.sh peers` leaves the small filters of
# `make bench` in target/peers, and `wasm.sh clippy` checks both.
#
# Needs the library of wasm32-unknown-unknown. In this order: it is there; rustup fetches it; Debian's
# compiler builds it from Debian's sources (COHORT_WASM_TOOLCHAIN=debian goes there at once).
set -euo pipefail
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown
do=${1:-build}

say() { echo "   $*" >&2; }

has_target() {
    local libraries
    libraries=$(rustc --print target-libdir --target $target 2>/dev/null) && compgen -G "$libraries/libstd-*.rlib" >/dev/null
}

fetched_target() {
    command -v rustup >/dev/null || return 1
    say "fetching the library for $target with rustup"
    rustup target add $target >&2 && has_target
}

# Debian's packages rustc-web and cargo-web are a recent compiler; rust-web-src is its library's source.
debian_cargo() {
    local packages="rustc-web cargo-web rust-web-src" linker
    if ! dpkg -s $packages >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "installing Debian's $packages"
            apt-get install -qq -y --no-install-recommends $packages >/dev/null
        else
            say "no library for $target: rustup could not fetch it. On Debian: apt-get install $packages"
            exit 1
        fi
    fi
    linker=$(compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/rust-lld" | head -1) || true
    linker=${linker:-$(command -v wasm-ld || compgen -c wasm-ld- | head -1)}
    [ -n "$linker" ] || { say "no linker for $target: neither rust-lld nor wasm-ld"; exit 1; }
    RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
        /usr/bin/cargo "$1" --target $target -Z build-std=std,panic_abort "${@:2}"
}

if [ "${COHORT_WASM_TOOLCHAIN:-}" != debian ] && { has_target || fetched_target; }; then
    with_library() { cargo "$1" --target $target "${@:2}"; }
else
    with_library() { debian_cargo "$@"; }
    if [ "$do" = clippy ]; then
        say "not checked: clippy needs the library of $target, and Debian's compiler brings no clippy"
        exit 0
    fi
fi

# Limits on what LLVM makes larger in the hope of speed. It inlines a function whose estimated cost is below a
# threshold: its own ones, 225, and 325 for a function that is marked, make a tenth more of code. It unrolls no loop.
# Requests are cheaper for it, but for those that hash with SHA-256 (docs/performance.md); `cargo test --test costs --
# --nocapture` prints what each kind costs.
llvm=(
    -inline-threshold=30 -inlinehint-threshold=100 -inlinecold-threshold=0
    -unroll-threshold=0 -unroll-full-max-count=0 -unroll-runtime=false
)

# The module holds the paths of the sources it was built from, for messages of a panic. Without the part that
# is this machine's own, the same commit gives the same bytes wherever it is built, and tells nobody's folders.
without_paths() {
    local flags="" folder option
    for option in "${llvm[@]}"; do
        flags+="-Cllvm-args=$option"$'\x1f'
    done
    cargo fetch --quiet
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        flags+="--remap-path-prefix=$folder=crates"$'\x1f'
    done
    export CARGO_ENCODED_RUSTFLAGS=${flags%$'\x1f'}
}

case $do in
    build)
        without_paths
        with_library build --release --lib --no-default-features
        built=target/$target/release/cohort.wasm
        if command -v wasm-opt >/dev/null; then
            # The module is stripped, and with it the list of features that rustc turns on by default.
            say "wasm-opt -O3"
            wasm-opt -O3 --enable-bulk-memory --enable-multivalue --enable-mutable-globals \
                --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext \
                --merge-similar-functions -O3 "$built" -o target/cohort.wasm.new
        else
            say "not optimised: no wasm-opt on PATH (binaryen); the filter works all the same"
            cp "$built" target/cohort.wasm.new
        fi
        mv target/cohort.wasm.new target/cohort.wasm
        say "$(wc -c <target/cohort.wasm | tr -d ' ') bytes"
        ;;
    peers)
        # What `make bench` compares with: a filter that does nothing, and those that do a little more each.
        for peer in noop sets reads counts calls; do
            features=()
            [ $peer = noop ] || features=(--features $peer)
            with_library build --quiet --release --manifest-path benches/peers/Cargo.toml \
                --target-dir target/peers "${features[@]}"
            cp target/peers/$target/release/peers.wasm target/peers/$peer.wasm
        done
        ;;
    clippy)
        with_library clippy --quiet --lib --no-default-features -- -D warnings
        # They call the host as plainly as can be: what the filter may not do costs nothing there.
        with_library clippy --quiet --manifest-path benches/peers/Cargo.toml --target-dir target/peers \
            --all-features -- -D warnings -A clippy::disallowed_methods
        ;;
    *)
        say "usage: wasm.sh build|peers|clippy"
        exit 2
        ;;
esac
