#!/usr/bin/env bash
# Embeds a file on many machines: each task of a Slurm array takes a part of the cells.
#
#   sbatch --array=0-9 docs/embed_parts.sh cells.h5ad 1000000 parts    # 1,000,000 cells in ten parts
#   scfviz merge cells.h5ad embedded.h5ad --parts parts/*.npy          # when all are there: the same bits as in one run
#
# More options go to `scfviz embed`: --checkpoint DIR, --device cuda. A task that was interrupted goes on when it is
# submitted again, and one that is done does nothing.
#SBATCH --job-name=scfviz-embed
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
set -euo pipefail
file=$1 cells=$2 parts=$3
shift 3
task=${SLURM_ARRAY_TASK_ID:-0}
tasks=${SLURM_ARRAY_TASK_COUNT:-1}
first=${SLURM_ARRAY_TASK_MIN:-0}
place=$((task - first))
part=$parts/part-$(printf '%05d' "$place").npy
mkdir -p "$parts"
if [ -e "$part" ]; then
    echo "$part is there"
    exit 0
fi
scfviz embed "$file" "$part" --cells "$((cells * place / tasks)):$((cells * (place + 1) / tasks))" \
    --threads "${SLURM_CPUS_PER_TASK:-1}" --resume "$@"
