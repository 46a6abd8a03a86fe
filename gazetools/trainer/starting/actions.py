"""Annotations of a new config: their kind, who is in them, and a validation file, split off where there is none."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gazetools.annotations.segment import Segment, csv_lines, participant_of
from gazetools.annotations.segments import read_segments
from gazetools.metrics.verdicts import MIN_CLUSTERS
from gazetools.schemas.errors import UsageError

_SHARE = 0.2
"""Part of the participants or videos that is split off for validation; more where a verdict needs more of them."""
_TRIES = 20
_ENDINGS = {"train": ("validation", "val"), "training": ("validation", "val")}
"""Word in the name of a training file -> words in that of the validation file next to it."""


@dataclass(frozen=True, kw_only=True)
class FoundActions:
    """The annotation files of a new config."""

    kind: str
    train: Path
    validation: Path
    train_rows: list[Segment]
    validation_rows: list[Segment]
    new_files: Mapping[Path, bytes]
    """Files that are to be written: the two parts of a file that was split."""
    how: str
    """Where the validation file comes from, as a sentence."""

    @property
    def rows(self) -> list[Segment]:
        """All actions."""
        return [*self.train_rows, *self.validation_rows]

    @property
    def is_of_takes(self) -> bool:
        """Whether the actions are those of takes with several cameras."""
        return self.train_rows[0].whole_take


def participants_of(rows: Sequence[Segment]) -> set[str]:
    """The participants that annotations name, in a column or as EPIC's ids do; of others the videos or takes."""
    return {_participant(row) or row.group for row in rows}


def find_actions(
    annotations: Path, validation: Path | None, *, config: Path, usable: Callable[[set[str]], set[str]]
) -> FoundActions:
    """Read the annotations, and find or make those of validation next to `config`.

    `usable` returns the ids of those videos that are there and have heatmaps: others are not worth measuring on.
    Raises DataFileError for files that do not parse, UsageError where a file cannot be split.
    """
    rows = read_segments(annotations)
    kind = _kind_of(annotations, rows)
    other = validation or _next_to(annotations)
    if other is not None:
        how = "given" if validation is not None else f"found next to {annotations.name}"
        return FoundActions(
            kind=kind, train=annotations, validation=other, train_rows=rows, validation_rows=read_segments(other),
            new_files={}, how=how,
        )  # fmt: skip
    return _split(annotations, rows, kind, config, usable({row.video_id for row in rows}))


def _kind_of(path: Path, rows: Sequence[Segment]) -> str:
    if path.suffix.lower() == ".json":
        return "keysteps of takes (Ego-Exo4D)" if rows[0].whole_take else "long-term anticipation (Ego4D)"
    tasks = "verb and noun" if "verb" in rows[0].classes else "one class"
    return f"CSV of actions with {tasks} (as EPIC-KITCHENS)"


def _next_to(path: Path) -> Path | None:
    """The validation file that belongs to `path` by its name, where there is one."""
    for word, others in _ENDINGS.items():
        for other in others:
            found = path.with_name(path.name.replace(word, other))
            if found != path and found.is_file():
                return found
    return None


def _split(path: Path, rows: list[Segment], kind: str, config: Path, usable: set[str]) -> FoundActions:
    """Two CSV files whose participants, or else videos, differ."""
    what, units = _units(rows)
    names = sorted({unit for row, unit in zip(rows, units, strict=True) if row.video_id in usable})
    if path.suffix.lower() == ".json" or len(names) < 2:
        why = f"has {len(names)} {what}(s) with videos and heatmaps"
        why = "comes in several files" if path.suffix.lower() == ".json" else why
        raise UsageError(
            f"{path} {why}, so that no part of it can be split off for validation.",
            hint="Pass --validation with the annotations to measure on.",
        )
    count = max(1, round(_SHARE * len(names)), min(MIN_CLUSTERS, len(names) // 2))
    chosen = min(
        (_draw(names, count, number) for number in range(_TRIES)), key=lambda drawn: _unknown(rows, units, drawn)
    )
    parts = [[n for n, unit in enumerate(units) if (unit in chosen) == held] for held in (False, True)]
    files = [config.with_name(f"{config.stem}_{name}.csv") for name in ("train", "validation")]
    return FoundActions(
        kind=kind, train=files[0], validation=files[1],
        train_rows=[rows[n] for n in parts[0]], validation_rows=[rows[n] for n in parts[1]],
        new_files={file: _lines(path, [rows[n] for n in part]) for file, part in zip(files, parts, strict=True)},
        how=f"split off from {path.name}: {count} of {len(names)} {what}s, none of which is trained on",
    )  # fmt: skip


def _units(rows: Sequence[Segment]) -> tuple[str, list[str]]:
    """(participant or video, that of each row): participants where every row has one and there are several."""
    people = [_participant(row) for row in rows]
    if all(people) and len(set(people)) > 1:
        return "participant", [str(one) for one in people]
    return "video", [row.group for row in rows]


def _participant(row: Segment) -> str | None:
    return row.participant_id or participant_of(row.video_id)


def _draw(names: Sequence[str], count: int, number: int) -> frozenset[str]:
    """`count` names by a hash, another choice for each number."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(f"{number}:{name}".encode()).digest())
    return frozenset(ordered[:count])


def _unknown(rows: Sequence[Segment], units: Sequence[str], chosen: frozenset[str]) -> tuple[int, float]:
    """How many validation rows have classes that training lacks, then how far their share is from the wanted one."""
    known = {row.classes["action"] for row, unit in zip(rows, units, strict=True) if unit not in chosen}
    held = [row for row, unit in zip(rows, units, strict=True) if unit in chosen]
    return sum(row.classes["action"] not in known for row in held), abs(len(held) / len(rows) - _SHARE)


def _lines(path: Path, rows: Sequence[Segment]) -> bytes:
    """The header and the lines of `rows` of a CSV, separated by commas."""
    wanted, file = {row.row for row in rows}, io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    lines = csv_lines(path)
    for _, cells in itertools.chain([next(lines)], (line for line in lines if line[0] in wanted)):
        writer.writerow(cells)
    return file.getvalue().encode()
