#!/usr/bin/env bash
# Usage: slurm_train.sh PARTITION JOB_NAME CONFIG [ARGS OF train.py]
# Environment: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS.
set -euo pipefail

partition=$1
job_name=$2
config=$3
gpus=${GPUS:-4}
gpus_per_node=${GPUS_PER_NODE:-4}

# SRUN_ARGS holds several words.
# shellcheck disable=SC2086
srun -p "$partition" --job-name="$job_name" \
    --gres="gpu:$gpus_per_node" --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "${@:4}"
