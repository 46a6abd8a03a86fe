"""What a run tells: its plan at the start, its figures after every epoch, and notes that its result keeps."""

from __future__ import annotations

from typing import Any

from gazetools.progress import Progress
from gazetools.trainer.run_plan import RunPlan


class Talk:
    """Lines for people; those given to `note` also stand in the result."""

    def __init__(self, progress: Progress, notes: list[str]) -> None:
        self.progress = progress
        self.notes = notes

    def note(self, text: str) -> None:
        """Tell and keep."""
        self.keep([text])
        self.progress.say(text)

    def keep(self, texts: list[str]) -> None:
        """Keep without telling; each text once."""
        self.notes += [text for text in texts if text not in self.notes]

    def plan(self, plan: RunPlan) -> None:
        """Clips, coverage and models, before the first step."""
        for text in self.notes:
            self.progress.say(text)
        self.progress.say(f"Anchor rule: {plan.anchors.rule}.")
        for split in (plan.data.train, *plan.each_epoch):
            text = f"{split.name} (anchor {split.anchor.name}): {len(split.clips)} clips of {split.counts['rows']} rows"
            if plan.data.survey is not None:
                shares = [f"{100 * share:.1f} % ({name})" for name, share in split.coverages.items()]
                text += ", heatmap coverage " + (", ".join(shares) if len(shares) > 1 else shares[0].split(" (")[0])
            dropped = [f"{count} {name}" for name, count in split.counts.items() if count and name != "rows"]
            self.progress.say(text + (f", left out: {', '.join(dropped)}" if dropped else ""))
        if plan.selecting is None:
            self.note("The best epoch is chosen on the validation set that is reported (evaluation.held_out=0).")
        for name, arm in plan.model["arms"].items():
            self.progress.say(
                f"Arm {name}: fusion {arm['fusion']}, trains {arm['train']} + probe, {arm['trained_parameters']:,} "
                f"parameters; {plan.model['video_tokens']} video and {arm['heatmap_tokens']} heatmap tokens per clip."
            )
        if len(plan.model["learners"]) > 1:
            self.progress.say(f"{len(plan.model['learners'])} models: {', '.join(plan.model['learners'])}.")

    def epoch(self, entry: dict[str, Any]) -> None:
        """Losses and validation's action figures."""
        shown = [n for n in entry if n.endswith("_loss") or ("_action_" in n and n.startswith("val_"))]
        self.progress.say(f"epoch {entry['epoch']}: " + ", ".join(f"{n} {entry[n]:.3f}" for n in shown))
