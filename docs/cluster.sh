#!/usr/bin/env bash
# Embeds a file on a Slurm allocation of many nodes: a Dask scheduler, a worker for each task, and the command.
#
#   sbatch --ntasks=64 docs/cluster.sh cells.h5ad embedded.h5ad
#   sbatch --ntasks=8 --gpus-per-task=1 docs/cluster.sh cells.h5ad embedded.h5ad --device cuda
#
# The file, the result, the checkpoint and scfviz (with its extra: pip install 'scfviz[cluster]') lie on a file system
# that all nodes mount at the same path. More options go to `scfviz embed`. A job that ended early goes on when it is
# submitted again.
#SBATCH --job-name=scfviz-cluster
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=4G
set -euo pipefail
file=$1 out=$2
shift 2
port=$((8786 + ${SLURM_JOB_ID:-0} % 1000))
address=tcp://$(hostname):$port
dask scheduler --port "$port" --no-dashboard &
scheduler=$!
srun dask worker "$address" --nthreads 1 --memory-limit 0 --no-dashboard --death-timeout 600 &
workers=$!
trap 'kill "$workers" "$scheduler" 2>/dev/null || true' EXIT
scfviz embed "$file" "$out" --cluster "$address" --resume "$@"
