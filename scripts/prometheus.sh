#!/usr/bin/env bash
# Prints the folder of `prometheus` and `promtool`: of those on PATH, else of Debian's package, unpacked into
# target/prometheus (nothing is installed). Fails with a reason where neither can be had.
set -euo pipefail
cd "$(dirname "$0")/.."

if found=$(command -v prometheus) && command -v promtool >/dev/null; then
    dirname "$found"
    exit
fi
folder=$PWD/target/prometheus
if [ ! -x "$folder/usr/bin/prometheus" ]; then
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || { echo "no prometheus on PATH, and no apt-get to fetch it with" >&2; exit 1; }
    echo "== fetching Debian's prometheus" >&2
    # Whoever comes at the same time fetches too, and finds a whole folder or none.
    mkdir -p target
    fresh=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    cd "$fresh"
    apt-get download -qq prometheus >&2 2>/dev/null ||
        { [ "$(id -u)" = 0 ] && apt-get update -qq >&2 && apt-get download -qq prometheus >&2; } ||
        { echo "no prometheus on PATH, and apt-get cannot fetch it" >&2; exit 1; }
    dpkg -x prometheus_*.deb .
    rm prometheus_*.deb
    mv -T "$fresh" "$folder" 2>/dev/null || [ -x "$folder/usr/bin/prometheus" ] ||
        { echo "cannot unpack to $folder: remove it" >&2; exit 1; }
fi
echo "$folder/usr/bin"
