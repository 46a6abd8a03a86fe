"""Findings on the fitness of a dataset for training with a config, for `gazetools validate --for-training`."""

from __future__ import annotations

from pathlib import Path

from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.schemas.findings import Finding, Severity
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.survey import plan_data
from gazetools.trainer.plan.arms import plan_learners
from gazetools.trainer.plan.config import load_config

_LOW_COVERAGE = 0.5


def readiness_findings(
    config_path: str | Path, dataset_path: str | Path | None = None, choice: ArrayChoice | None = None
) -> list[Finding]:
    """Findings that would stop or weaken training with the config at `config_path` on the heatmaps at `dataset_path`.

    What `choice` names of another tool's heatmaps replaces the config's keys.

    Checks sizes and patch multiples, ids and videos, heatmap coverage, and maps filled from later frames. Codes:
    training-config, training-settings, training-data, training-coverage. Raises UsageError only where the config
    itself cannot be read.
    """
    config = load_config(config_path)
    if dataset_path is not None:
        values = config.model_dump()
        values["experiment"]["data"] |= {"use_heatmap": True, "heatmap_base_path": str(dataset_path)}
        given = {} if choice is None else choice.model_dump(exclude_none=True)
        values["experiment"]["data"] |= {f"heatmap_{name}": value for name, value in given.items()}
        config = TrainingConfig.model_validate(values)
    findings: list[Finding] = []
    try:
        plan_learners(config)
    except UsageError as error:
        problems = error.details.get("problems", [error.message])
        findings += [_finding("training-settings", "error", problem, "Correct the config.") for problem in problems]
    try:
        plan = plan_data(config.experiment.data, resolve_anchors(config), compat=config.compat)
    except GazetoolsError as error:
        remedy = error.hint or "Correct the data or the config."
        return [*findings, _finding("training-data", "error", error.message, remedy)]
    for video_id in plan.survey.missing if plan.survey is not None else ():
        text = f"The video {video_id!r} of the annotations has no heatmaps; policy missing: "
        text += f"{config.experiment.data.missing}."
        findings.append(_finding("training-coverage", "warning", text, "Extract and pack it.", video_id))
    for split in (plan.train, *plan.validation):
        text = f"{split.name} (anchor {split.anchor.name}): {len(split.clips)} clips, heatmaps for "
        text += f"{100 * split.coverage:.1f} %."
        low = plan.survey is not None and split.coverage < _LOW_COVERAGE
        remedy = "Check heatmap_base_path and the video ids." if low else "Nothing to do."
        findings.append(_finding("training-coverage", "warning" if low else "note", text, remedy))
    return findings


def _finding(code: str, severity: Severity, message: str, remedy: str, video_id: str | None = None) -> Finding:
    return Finding(code=code, severity=severity, video_id=video_id, frames=None, message=message, remedy=remedy)
