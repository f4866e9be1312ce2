#!/usr/bin/env bash
# Train the rows that matter and report each: tools/dev/coco_rows.sh GPUS [OPTIONS]; --help lists them.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" "$root/tools/dev/coco_rows.py" "$@"
