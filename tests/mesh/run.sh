#!/usr/bin/env bash
# Runs the tests of this folder, each run in a network, mount and process namespace of its own: what they make there
# nobody else sees, and it ends with them. Arguments go to pytest. Without any there are three runs side by side, each
# with a cluster: those with a controller wait most of the time.
set -euo pipefail
cd "$(dirname "$0")/../.."

COHORT_MESH_OUTSIDE=$(readlink /proc/self/ns/net)
export COHORT_MESH_OUTSIDE
# -s: the tests print figures.
command=(unshare --net --mount --pid --fork --kill-child --mount-proc target/venv/bin/pytest -s)
(($# == 0)) || exec "${command[@]}" tests/mesh "$@"

# Those that wait: by name what each runs.
controllers=(tests/mesh/test_flagger.py tests/mesh/test_argo_rollouts.py)
compared=(tests/mesh/test_compare.py)
logs=(target/mesh/controllers.log target/mesh/compared.log)
"${command[@]}" "${controllers[@]}" > "${logs[0]}" 2>&1 &
beside=($!)
"${command[@]}" "${compared[@]}" > "${logs[1]}" 2>&1 &
beside+=($!)
trap 'kill "${beside[@]}" 2> /dev/null || true' EXIT
status=0
waiting=("${controllers[@]}" "${compared[@]}")
"${command[@]}" tests/mesh "${waiting[@]/#/--ignore=}" || status=1
for one in "${beside[@]}"; do
    wait "$one" || status=1
done
cat "${logs[@]}"
exit "$status"
