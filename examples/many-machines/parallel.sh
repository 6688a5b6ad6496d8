#!/bin/sh
# A vector in shards, by GNU parallel on this machine or on several.
#
#   PAIRS=pairs.jsonl SHARDS=8 ./parallel.sh vector.safetensors --layers 12
#   PAIRS=pairs.jsonl SHARDS=64 MACHINES=machines.txt ./parallel.sh vector.safetensors
#
# MACHINES is a file of parallel's --sshloginfile, a host on each line; this folder must be
# the same on all of them. A process of steer uses every core, so that there is one at a
# time on each machine. A shard whose machine fails is tried again and goes on from the
# state that it left; shards that are there are not computed again.
set -eu

STEER=${STEER:-steer} MODEL=${MODEL:-demo} PAIRS=${PAIRS:-pairs.jsonl} SHARDS=${SHARDS:-4}
out=$1
shift

parts=parts-$({ cat "$PAIRS" && echo "$MODEL $SHARDS $*"; } | cksum | cut -d ' ' -f 1) # those of other options lie elsewhere
mkdir -p "$parts"
seq "$SHARDS" | parallel ${MACHINES:+--sshloginfile "$MACHINES"} --workdir . --jobs 1 --retries 3 --halt soon,fail=1 --joblog "$parts/jobs" --resume-failed \
	"$STEER" train --model "$MODEL" --pairs "$PAIRS" "$@" --shard "{}/$SHARDS" --statistics "$parts/{}" --resume
# shellcheck disable=SC2046 # numbers
"$STEER" merge $(seq -f "$parts/%g" "$SHARDS") --out "$out"
