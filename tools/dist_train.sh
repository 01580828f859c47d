#!/usr/bin/env bash
# Usage: dist_train.sh CONFIG GPUS [ARGS OF train.py]
# Environment: NNODES, NODE_RANK, PORT, MASTER_ADDR as in MMSegmentation.
set -euo pipefail

config=$1
gpus=$2

python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "${@:3}"
