#!/bin/sh
# The start of the Envoy container: puts the image's filter.yaml into the folder that Envoy watches, unless the one
# there came from this same file. Then it has the weights that somebody set since, and stays.
set -eu
shipped=/etc/cohort/filter.yaml live=/etc/cohort/live

if [ ! -e "$live/filter.yaml" ] || [ "$(cat "$shipped")" != "$(cat "$live/.shipped" 2>/dev/null)" ]; then
    install -m 0644 "$shipped" "$live/.new"
    mv "$live/.new" "$live/filter.yaml"
    install -m 0644 "$shipped" "$live/.shipped"
fi
exec /docker-entrypoint.sh "$@"
