#!/bin/bash
# One training run on several machines: sbatch examples/slurm_train.sh CONFIG [key=value ...]
# Five minutes before the time limit gazetools saves the state (exit 130), and the job is queued again and continues from
# that state. It also saves when the job is preempted, which Slurm itself queues again, or cancelled, which ends it.
#SBATCH --job-name=gazetools-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
#SBATCH --output=%x-%j.log
set -euo pipefail
config=${1:?usage: sbatch examples/slurm_train.sh CONFIG [key=value ...]}
shift
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# One task per machine; each starts its own workers and connects to the others at the first machine.
srun --kill-on-bad-exit=0 bash -c 'exec gazetools train --config "$@" --gpus all \
  --nodes "$SLURM_NNODES" --node-rank "$SLURM_NODEID" --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "'"$first"':29500"' \
  _ "$config" "$@" &
work=$!
# The batch shell receives the signal; srun forwards it to gazetools on every machine.
warned=
trap 'warned=1; kill -USR1 "$work"' USR1
trap 'kill -USR1 "$work"' TERM  # by scancel or preemption
code=0
wait "$work" || code=$?
while kill -0 "$work" 2>/dev/null; do  # the signal ended the wait early
  code=0
  wait "$work" || code=$?
done
if [ "$code" -eq 130 ] && [ -n "$warned" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
