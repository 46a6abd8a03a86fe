"""What a run says: its plan at the start, its figures after every epoch, and notes that its result keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gazetools.progress import Progress, ShowsTable
from gazetools.trainer.data.maps.build import source_settings
from gazetools.trainer.data.split import REASONS
from gazetools.trainer.learn.learner import Learner
from gazetools.trainer.learn.loop import Loop
from gazetools.trainer.measure.final import prefix
from gazetools.trainer.plan.selection import HELD_OUT
from gazetools.trainer.plan.settle import RunPlan

_LEFT_OUT = (*REASONS, HELD_OUT)
_KEPT = {
    "unseen_class_clips": "of a class that training lacks",
    "begin_before_video": "begin before their video, whose first frame is shown for these times",
}
"""Counts of clips that are kept -> what is said of them."""


@dataclass
class Talk:
    """Lines for people; those given to `note` also stand in the result."""

    progress: Progress
    notes: list[str]

    def note(self, text: str) -> None:
        """Say and keep a text."""
        self.keep([text])
        self.progress.say(text)

    def keep(self, texts: list[str]) -> None:
        """Keep texts, each once, without saying them."""
        self.notes += [text for text in texts if text not in self.notes]

    def plan(self, plan: RunPlan) -> None:
        """Say clips, coverage and models, before the first step."""
        say = self.progress.say
        for text in self.notes:
            say(text)
        for text in (*plan.data.notes, *_inout_notes(plan)):
            self.note(text)
        say(f"Anchor rule: {plan.anchors.rule}.")
        for split in (plan.data.train, *plan.each_epoch, *([] if plan.data.test is None else [plan.data.test])):
            text = f"{split.name} (anchor {split.anchor.name}): {len(split.clips)} clips of {split.counts['rows']} rows"
            if plan.data.survey is not None:
                shares = [f"{100 * share:.1f} % ({name})" for name, share in split.coverages.items()]
                text += ", heatmap coverage " + (", ".join(shares) if len(shares) > 1 else shares[0].split(" (")[0])
            dropped = [f"{count} {name}" for name, count in split.counts.items() if count and name in _LEFT_OUT]
            kept = [f"{split.counts[name]} {words}" for name, words in _KEPT.items() if split.counts.get(name)]
            text += f", left out: {', '.join(dropped)}" if dropped else ""
            say(text + (f"; of them {', '.join(kept)}" if kept else ""))
        if plan.data.shared_videos:
            self.note(
                f"{plan.data.shared_videos} video(s) are in training and in validation: it shows scenes that were "
                "trained on."
            )
        if plan.config.experiment.evaluation.chosen_on_validation:
            self.note("The best epoch is chosen on the validation set that is reported (evaluation.held_out=0).")
        for name, arm in plan.model["arms"].items():
            trains = "probe" if arm["train"] == "probe" else f"{arm['train']} + probe"
            say(
                f"Arm {name}: fusion {arm['fusion']}, trains {trains}, {arm['trained_parameters']:,} "
                f"parameters; {plan.model['video_tokens']} video and {arm['heatmap_tokens']} heatmap tokens per clip."
            )
        if len(plan.learners) > 1:
            say(f"{len(plan.learners)} models: {', '.join(spec.name for spec in plan.learners)}.")

    def table(self, loop: Loop, entry: Mapping[str, Any], selecting: str) -> None:
        """Show every model's figures of the epoch and its best epoch so far, where the progress can show a table."""
        if not isinstance(self.progress, ShowsTable):
            return
        rows = []
        for learner in loop.learners:
            start = prefix(loop, learner.name)
            own = {key.removeprefix(start): value for key, value in entry.items() if key.startswith(start)}
            recall = next((key for key in own if key.startswith(f"{selecting}_action_recall")), None)
            best = learner.best
            cells = [
                learner.name,
                _state_of(learner) or f"{own['train_loss']:.4f}",
                f"{own[f'{selecting}_loss']:.4f}" if f"{selecting}_loss" in own else "",
                f"{own[recall]:.2f}" if recall is not None else "",
                f"{best['value']:.2f} (epoch {best['epoch']})" if best is not None else "",
            ]
            rows.append(cells)
        columns = ("model", "train loss", f"{selecting} loss", f"{selecting} action recall", "best")
        self.progress.table(f"epoch {entry['epoch']}", columns, rows)

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """Say losses and validation's action figures."""
        shown = [n for n in entry if n.endswith("_loss") or ("_action_" in n and n.startswith("val_"))]
        if shown:  # a run that only predicts has no figures
            self.progress.say(f"epoch {entry['epoch']}: " + ", ".join(f"{n} {entry[n]:.3f}" for n in shown))


def _state_of(learner: Learner) -> str:
    """Why a model has no training loss of this epoch; empty where it has one."""
    if learner.failed is not None:
        return "dropped"
    # A model that ends with this epoch has trained in it.
    return f"ended ({learner.ended})" if learner.ended is not None and not learner.step_losses else ""


def _inout_notes(plan: RunPlan) -> list[str]:
    """One note per source whose in/out probability is wanted and missing: these maps stay as they are."""
    settings, notes = source_settings(plan.config.experiment.data), []
    for name, survey in plan.data.surveys.items():
        used = settings[name].inout
        if used != "keep" and survey.without_inout:
            notes.append(
                f"heatmap_inout: {used} changes nothing for {len(survey.without_inout)} of the {len(survey.present)} "
                f"videos of the source {name}, such as {survey.without_inout[0]!r}: their maps have no in/out "
                "probability."
            )
    return notes
