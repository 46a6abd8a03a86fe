#!/bin/bash
# The trainings of a study as a job array, one task per seed, all in one run folder:
#   sbatch --array=0-4 --gpus=1 examples/slurm_seeds.sh CONFIG [key=value ...]
# The numbers of the array are the config's seeds (seeds: 5 has 0 to 4). A task that is warned of its time limit saves the
# state (exit 130) and is queued again; one that is preempted saves too, and Slurm itself queues it again. One that was
# cancelled or lost goes on alone: the same line, --array=3.
#SBATCH --job-name=gazetools-seeds
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
#SBATCH --output=%x-%A_%a.log
set -euo pipefail
config=${1:?usage: sbatch --array=0-4 --gpus=1 examples/slurm_seeds.sh CONFIG [key=value ...]}
seed=${SLURM_ARRAY_TASK_ID:?no array: sbatch --array=0-4 --gpus=1 examples/slurm_seeds.sh CONFIG}
shift

gazetools train --config "$config" --only-seed "$seed" "$@" &
work=$!
# The batch shell receives the signal; the training is its child and needs no srun.
warned=
trap 'warned=1; kill -USR1 "$work"' USR1
trap 'kill -TERM "$work"' TERM  # by scancel or preemption
code=0
wait "$work" || code=$?
while kill -0 "$work" 2>/dev/null; do  # the signal ended the wait early
  code=0
  wait "$work" || code=$?
done
if [ "$code" -eq 130 ] && [ -n "$warned" ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$seed"
fi
exit "$code"
