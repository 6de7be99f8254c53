#!/usr/bin/env bash
# Runs the tests of this folder in a network, mount and process namespace of their own: what they make there nobody
# else sees, and it ends with them. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."

COHORT_MESH_OUTSIDE=$(readlink /proc/self/ns/net)
export COHORT_MESH_OUTSIDE
exec unshare --net --mount --pid --fork --kill-child --mount-proc \
    target/venv/bin/pytest tests/mesh "$@"
