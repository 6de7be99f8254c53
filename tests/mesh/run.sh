#!/usr/bin/env bash
# Runs the tests of this folder, each run in a network, mount and process namespace of its own: what they make there
# nobody else sees, and it ends with them. Arguments go to pytest. Without any there are two runs side by side, each
# with a cluster: those with a controller wait most of the time.
set -euo pipefail
cd "$(dirname "$0")/../.."

COHORT_MESH_OUTSIDE=$(readlink /proc/self/ns/net)
export COHORT_MESH_OUTSIDE
# -s: the tests print figures.
command=(unshare --net --mount --pid --fork --kill-child --mount-proc target/venv/bin/pytest -s)
(($# == 0)) || exec "${command[@]}" tests/mesh "$@"

controllers=(tests/mesh/test_flagger.py tests/mesh/test_argo_rollouts.py)
log=target/mesh/controllers.log
"${command[@]}" "${controllers[@]}" > "$log" 2>&1 &
beside=$!
trap 'kill "$beside" 2> /dev/null || true' EXIT
status=0
"${command[@]}" tests/mesh "${controllers[@]/#/--ignore=}" || status=1
wait "$beside" || status=1
cat "$log"
exit "$status"
