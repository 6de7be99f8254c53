#!/usr/bin/env bash
# Prints the path of a Chromium: the one on PATH, else Debian's, installed where that is allowed. Fails with a
# reason where none can be had.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    if command -v $name; then exit; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "== installing Debian's chromium" >&2
    install() { apt-get install -qq -y --no-install-recommends chromium >&2; }
    install || { apt-get update -qq >&2 && install; } || { echo "no chromium on PATH, and apt-get cannot install it" >&2; exit 1; }
    command -v chromium
    exit
fi
echo "no chromium on PATH, and nobody here who may install one (Debian: apt-get install chromium)" >&2
exit 1
