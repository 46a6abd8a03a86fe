"""Lists released with annotations: names of classes, and EPIC-KITCHENS-100's tail classes and unseen participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazetools.annotations.segment import Segment, refuse_problems
from gazetools.io.json_files import read_json
from gazetools.io.tables import read_table
from gazetools.schemas.errors import DataFileError, UsageError

TAXONOMY = "fho_lta_taxonomy.json"
UNSEEN = "EPIC_100_unseen_participant_ids_validation.csv"
_TAIL = {"verb": "EPIC_100_tail_verbs.csv", "noun": "EPIC_100_tail_nouns.csv"}
_NAMES = {
    "verb": ("EPIC_100_verb_classes.csv",),
    "noun": ("EPIC_100_noun_classes_v2.csv", "EPIC_100_noun_classes.csv"),  # the same ids, some names corrected
}
_EVERY = (*(name for names in _NAMES.values() for name in names), *_TAIL.values(), UNSEEN, TAXONOMY)
_MAX_JSON = 64 << 20


@dataclass(frozen=True, kw_only=True)
class OfficialLists:
    """What the released lists say; a list that is not there is empty."""

    files: tuple[str, ...]
    """Names of the files that were read."""
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """`verb` and `noun` -> name of each class, whose id is its place."""
    tail: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """`verb` and `noun` -> ids of the tail classes; both or none."""
    unseen: frozenset[str] = frozenset()
    """Participants of validation without a video in training."""

    def tail_tasks(self, classes: Mapping[str, Any]) -> dict[str, bool]:
        """Task -> whether these classes are of the tail; an action is where its verb or its noun is.

        So counts the challenge's evaluation (epic-kitchens/C3-Action-Anticipation, compute_anticipation_metrics).
        """
        found = {task: classes.get(task) in ids for task, ids in self.tail.items()}
        return found | {"action": any(found.values())} if found else {}

    def name_of(self, task: str, class_id: Any) -> str:
        """The name of a class, `verb noun` of an action (verb, noun); "" where the lists have none."""
        if task == "action" and isinstance(class_id, tuple) and {"verb", "noun"} <= set(self.names):
            return " ".join(self.name_of(part, one) for part, one in zip(("verb", "noun"), class_id, strict=True))
        names = self.names.get(task, ())
        return names[class_id] if isinstance(class_id, int) and class_id < len(names) else ""

    def check(self, path: Path, rows: Sequence[Segment]) -> None:
        """Raise DataFileError for rows of `path` whose class is in no list: other annotations, or other lists."""
        problems = [
            f"{row.title or f'row {row.row}'}: {task} class {row.classes[task]} is none of the {len(names)} in the list"
            for row in rows
            for task, names in self.names.items()
            if task in row.classes and row.classes[task] >= len(names)
        ]
        refuse_problems(path, problems)


NO_LISTS = OfficialLists(files=())


def read_official_lists(annotations: Path, folder: Path | None) -> OfficialLists:
    """The lists in `folder`; None: those next to `annotations`, a file that has its released name.

    Raises UsageError where `folder` is given and has none of them, DataFileError for a file that cannot be read.
    """
    found = _present(annotations.parent if folder is None else folder)
    if folder is None:
        start = next((start for start in ("EPIC_100_", "fho_lta_") if annotations.name.startswith(start)), None)
        found = {name: path for name, path in found.items() if start is not None and name.startswith(start)}
    elif not found:
        raise UsageError(
            f"{folder} has none of the released lists.",
            hint=f"Set experiment.data.official_lists to a folder with some of {', '.join(_EVERY)}.",
        )
    names = _class_names(found)
    tail = {task: _ids(found[name], task) for task, name in _TAIL.items() if name in found}
    if len(tail) == 1:
        (missing,) = set(_TAIL) - set(tail)
        raise DataFileError(
            f"{annotations.parent if folder is None else folder} has {_TAIL[next(iter(tail))]} without "
            f"{_TAIL[missing]}: an action is of the tail where its verb or its noun is.",
            hint="Get both from epic-kitchens/epic-kitchens-100-annotations.",
        )
    unseen: frozenset[str] = frozenset()
    if UNSEEN in found:
        unseen = frozenset(
            filter(None, read_table(found[UNSEEN], required=("participant_id",)).columns["participant_id"])
        )
    used = tuple(name for name in _EVERY if name in found)
    return OfficialLists(files=used, names=names, tail=tail, unseen=unseen)


def _present(folder: Path) -> dict[str, Path]:
    """Name -> path of the lists in `folder`; of the two lists of nouns the newer one."""
    found = {name: folder / name for name in _EVERY if (folder / name).is_file()}
    newer, older = _NAMES["noun"]
    return {name: path for name, path in found.items() if name != older or newer not in found}


def _class_names(found: Mapping[str, Path]) -> dict[str, list[str]]:
    names = {}
    for task, files in _NAMES.items():
        if path := next((found[name] for name in files if name in found), None):
            table = read_table(path, required=("id", "key"))
            named = dict(zip(table.integers("id").tolist(), table.columns["key"], strict=True))
            if sorted(named) != list(range(len(table))):
                raise DataFileError(f"{path}: the ids are not 0 to {len(table) - 1}, each once.", path=str(path))
            names[task] = [named[number] for number in range(len(named))]
    return names | (_taxonomy(found[TAXONOMY]) if TAXONOMY in found else {})


def _taxonomy(path: Path) -> dict[str, list[str]]:
    """Names of Ego4D's verbs and nouns; a label of `fho_lta_*.json` is a place in these lists."""
    document = read_json(path, max_bytes=_MAX_JSON)
    lists = {task: document.get(f"{task}s") if isinstance(document, dict) else None for task in ("verb", "noun")}
    if not all(isinstance(one, list) and one and all(isinstance(n, str) for n in one) for one in lists.values()):
        raise DataFileError(f"{path} has no lists of texts `verbs` and `nouns`.", path=str(path))
    return lists  # type: ignore[return-value]


def _ids(path: Path, column: str) -> frozenset[int]:
    return frozenset(read_table(path, required=(column,)).integers(column).tolist())
