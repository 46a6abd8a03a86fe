"""Tables on the terminal show names as they are, also those that look like the terminal library's markup."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from gazetools.cli import tables
from gazetools.evaluation.page import METRICS
from gazetools.schemas.dataset import PackedItem, PackReport
from gazetools.schemas.evaluation import Estimate, EvaluationReport
from gazetools.schemas.findings import Finding, ValidationReport
from gazetools.schemas.groundtruth import GroundTruthItem, GroundTruthReport

NAME = "a[red]b[/bold]"


def _shown(table: Table | str) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return out.getvalue()


def _tables() -> dict[str, Table | str]:
    estimate = Estimate(value=0.5, low=None, high=None, count=1)
    evaluation = EvaluationReport(
        tool_version="1", predicted=NAME, truth="truth", protocol="gazefollow", overall={"auc": estimate},
        groups={"camera": {NAME: {"auc": estimate}}}, counts={}, failed={}, best=[], worst=[], notes=[],
    )  # fmt: skip
    truth = GroundTruthItem(video_id=NAME, path="", status="failed", reason=NAME)
    found = Finding(code="x", severity="error", video_id=NAME, frames=None, message=NAME, remedy="")
    return {
        "evaluate": tables.scores(evaluation, METRICS),
        "groundtruth": tables.rendered_videos(
            GroundTruthReport(tool_version="1", options={}, items=[truth]), Path(NAME)
        ),
        "pack": tables.packed_videos(
            PackReport(output=NAME, items=[PackedItem(video_id=NAME, status="failed", reason=NAME, warnings=[NAME])])
        ),
        "validate": tables.findings(ValidationReport(findings=[found], summary={})),
    }


@pytest.mark.parametrize(("command", "times"), [("evaluate", 2), ("groundtruth", 3), ("pack", 4), ("validate", 2)])
def test_names_with_brackets_are_shown_whole(command: str, times: int) -> None:
    assert _shown(_tables()[command]).count(NAME) == times
