"""Settings of library calls: a model or single fields, never both; rules that several models share."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

import gazetools
from gazetools.schemas.base import given_or_parsed
from gazetools.schemas.dataset import PackOptions
from gazetools.schemas.errors import UsageError
from gazetools.schemas.training_data import HeatmapSourceSettings
from gazetools.schemas.validate import ValidateOptions
from gazetools.trainer.report.run import report


def test_options_come_whole_or_as_single_settings() -> None:
    options = PackOptions(normalize="max")
    assert given_or_parsed(options, PackOptions, {}, what="pack options") is options
    assert given_or_parsed(None, PackOptions, {"normalize": "max"}, what="pack options") == options
    with pytest.raises(UsageError, match=r"either options= or single settings, not both \(fps, size\)"):
        given_or_parsed(options, PackOptions, {"fps": 5, "size": "8x8"}, what="pack options")
    with pytest.raises(UsageError, match="pack options: unknown key 'normalise'; did you mean 'normalize'"):
        given_or_parsed(None, PackOptions, {"normalise": "max"}, what="pack options")


def test_validate_and_report_take_options_or_single_settings() -> None:
    with pytest.raises(UsageError, match="validate options: unknown key 'video'; did you mean 'videos'"):
        gazetools.validate("store", video="clip.mp4")
    with pytest.raises(UsageError, match=r"either options= or single settings, not both \(deep\)"):
        gazetools.validate("store", options=ValidateOptions(), deep=3)
    with pytest.raises(UsageError, match="report options: 'k' = 0"):
        report(["run"], output="report", k=0)


@pytest.mark.parametrize("people", ["max", "mean", "wearer", "7", "-1"])
def test_packing_and_training_know_the_same_rules_for_people(people: str) -> None:
    assert PackOptions(people=people).people == HeatmapSourceSettings(path="x", people=people).people == people


@pytest.mark.parametrize("people", ["", "all", "1,2", "1.5", "1234567890"])
def test_packing_and_training_refuse_the_same_rules_for_people(people: str) -> None:
    with pytest.raises(ValidationError, match="must be 'max', 'mean', 'wearer' or a track id"):
        PackOptions(people=people)
    with pytest.raises(ValidationError, match="must be 'max', 'mean', 'wearer' or a track id"):
        HeatmapSourceSettings(path="x", people=people)
