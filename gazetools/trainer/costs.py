"""What a run would cost, for a dry run: a step, decoding, and several trainings."""

from __future__ import annotations

import dataclasses

from gazetools.trainer.measure.decode_cost import measure_decoding
from gazetools.trainer.measure.step_cost import measure_step, study_table
from gazetools.trainer.outcome import TrainResult
from gazetools.trainer.plan.settle import RunPlan
from gazetools.trainer.talk import Talk


def with_costs(result: TrainResult, plan: RunPlan, talk: Talk, *, processes: int) -> TrainResult:
    """The result of a dry run with the costs of a step, of decoding, and of 3, 5 and 8 trainings."""
    cost = measure_step(plan, processes=processes)
    if not cost.fits:
        talk.note(
            f"A step needs about {cost.memory_bytes / 2**30:.1f} GiB, more than {plan.device} has: halve batch_size "
            "and double accumulation_steps, or use fewer arms."
        )
    people = len({clip.segment.group for clip in plan.data.validation[0].clips})
    decoding = measure_decoding(plan, clips_per_step=cost.clips, step_seconds=cost.seconds)
    return dataclasses.replace(
        result,
        step=cost.as_dict(),
        planning=study_table(cost, clusters=people),
        decoding=None if decoding is None else decoding.as_dict(),
    )
