#!/bin/bash
# For `glovebox worker poll --on-work`: one container for one session. It stays until the session's end, as it must: exec makes the
# container's client the script, so that poll's SIGTERM reaches the worker inside.
#
# Only the secret of this one item goes inside; the environment's key stays out here. The script says nothing of either on a command line:
# `--env NAME` takes the value from the environment.
set -eu
session=${ANTHROPIC_SESSION_ID:?} work=${ANTHROPIC_WORK_ID:?}
: "${ANTHROPIC_WORK_SECRET:?the item brought no secret}"

# PODMAN may be docker, and may have options: PODMAN="podman --runtime=runc". So may RUN_OPTIONS: memory, network, volumes.
# shellcheck disable=SC2086
exec ${PODMAN:-podman} run --rm --name "glovebox-${work//[^A-Za-z0-9]/-}" \
  --label "session=$session" --stop-timeout 30 --cap-drop=all --security-opt=no-new-privileges ${RUN_OPTIONS:-} \
  --env ANTHROPIC_WORK_ID --env ANTHROPIC_SESSION_ID --env ANTHROPIC_ENVIRONMENT_ID --env ANTHROPIC_BASE_URL \
  --env ANTHROPIC_WORK_SECRET \
  "${IMAGE:-localhost/glovebox-worker}" --max-idle="${MAX_IDLE:-60s}" ${WORKER_OPTIONS:-}
