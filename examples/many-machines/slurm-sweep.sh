#!/bin/bash
# A sweep in shards, by Slurm: an array of jobs for the grid, one that merges, an array for
# what comes after the choice, one that merges. Run it where sbatch is, in a folder that all
# nodes see:
#
#   MODEL=/models/llama PAIRS=pairs.jsonl EVAL=held-out.jsonl SHARDS=16 ./slurm-sweep.sh sweep --layers 8-24
#
# SBATCH has what else a job needs, as in SBATCH="--cpus-per-task=16 --mem=32G --time=8:00:00".
# It prints the number of the last job. A shard that is requeued goes on from what it had
# reported.
# shellcheck disable=SC2086,SC2207 # options and numbers are words here
set -eu

STEER=${STEER:-steer} MODEL=${MODEL:-demo} PAIRS=${PAIRS:-pairs.jsonl} EVAL=${EVAL:-held-out.jsonl} SHARDS=${SHARDS:-4}
read -ra SBATCH <<<"${SBATCH:-}"
out=$1
shift

# submit NAME OPTION COMMAND... submits a command and prints the job's number. %K in it is
# the number of the shard.
submit() {
	local name=$1 option=$2
	shift 2
	local command=${*@Q}
	sbatch --parsable --job-name "$name" --requeue --open-mode append --kill-on-invalid-dep yes --output "$out.parts/%x-%A-%a.log" "${SBATCH[@]}" $option <<-JOB
		#!/bin/sh
		export GOMAXPROCS=\${SLURM_CPUS_PER_TASK:-\$(nproc)}
		exec ${command//%K/\'"\$SLURM_ARRAY_TASK_ID"\'}
	JOB
}

mkdir -p "$out.parts"
numbers=($(seq "$SHARDS"))
array="--array=1-$SHARDS"

extract=$(submit steer-extract "$array" "$STEER" extract --model "$MODEL" --pairs "$PAIRS" --shard "%K/$SHARDS" --out "$out.parts/activations-%K")
merge=$(submit steer-activations "--dependency=afterok:$extract" "$STEER" merge "${numbers[@]/#/$out.parts/activations-}" --out "$out.parts/activations")
grid=$(submit steer-grid "$array --dependency=afterok:$merge" "$STEER" sweep --model "$MODEL" --pairs "$PAIRS" --eval "$EVAL" "$@" \
	--activations "$out.parts/activations" --shard "%K/$SHARDS" --out "$out.parts/grid-%K" --resume)
merge=$(submit steer-merge "--dependency=afterok:$grid" "$STEER" merge "${numbers[@]/#/$out.parts/grid-}" --out "$out")
rest=$(submit steer-rest "$array --dependency=afterok:$merge" "$STEER" sweep --after "$out" --shard "%K/$SHARDS" --out "$out.parts/rest-%K" --resume)
submit steer-sweep "--dependency=afterok:$rest" "$STEER" merge "${numbers[@]/#/$out.parts/rest-}" --out "$out"
