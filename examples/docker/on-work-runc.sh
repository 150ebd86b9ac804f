#!/bin/bash
# For `glovebox worker poll --on-work`, with runc alone: one container for one session, from the bundle that make-bundle.sh made. runc
# hands stdin on, where the item is, and poll's SIGTERM as well. Nothing of the environment goes inside.
set -eu
work=${ANTHROPIC_WORK_ID:?}
# shellcheck disable=SC2086
exec ${RUNC:-runc} run --bundle "${BUNDLE:?the directory that make-bundle.sh made}" "glovebox-${work//[^A-Za-z0-9]/-}"
