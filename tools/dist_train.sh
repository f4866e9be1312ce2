#!/usr/bin/env bash
# Train with several processes: tools/dist_train.sh CONFIG PROCESSES_PER_NODE [OPTIONS OF train.py]
# Several nodes: call it on each with NNODES, NODE_RANK and MASTER_ADDR (and PORT) in the environment.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500] $0 CONFIG PROCESSES_PER_NODE [OPTIONS]" >&2
    exit 2
fi
config=$1
processes=$2
tools=$(cd "$(dirname "$0")" && pwd)

export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$tools/train.py" "$config" --launcher pytorch "${@:3}"
