"""What W&B and TensorBoard have of a run, read from their files, and what the run folder's own records say."""

from __future__ import annotations

import json
import struct
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.runs import lines

Rows = dict[int, dict[str, Any]]


def recorded_rows(folder: Path) -> Rows:
    """Step -> values, from `steps/*.jsonl` and `metrics.jsonl` alone."""
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for path in sorted((folder / "steps").glob("*.jsonl")):
        for line in lines(path):
            if "lr" not in line:
                continue
            several = isinstance(line["loss"], dict)
            for name in line["loss"] if several else [""]:
                start, pick = (f"{name}/", lambda x, n=name: x[n]) if several else ("", lambda x: x)
                own = {"step_loss": pick(line["loss"]), "grad_norm": pick(line["grad_norm"])}
                own |= {f"lr_{group}": rate for group, rate in pick(line["lr"]).items()}
                found[line["step"]] |= {f"{start}{key}": value for key, value in own.items()}
    for entry in lines(folder / "metrics.jsonl"):
        found[entry["step"]] |= entry
    return dict(found)


def final_values(folder: Path) -> dict[str, float]:
    """`final_<split>_<metric>`, after `<model>/` where there are several, from result.json."""
    final = json.loads((folder / "result.json").read_text())["final"]
    return {
        (f"{model}/" if len(final) > 1 else "") + f"final_{split}_{metric}": value
        for model, splits in final.items()
        for split, values in splits.items()
        for metric, value in values.items()
    }


@dataclass
class WandbFiles:
    """All W&B files of one folder in the order of their beginning."""

    ids: list[str] = field(default_factory=list)
    """Of each file with a run in it."""
    settings: list[dict[str, Any]] = field(default_factory=list)
    """Name, group and job type of each."""
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    exit_codes: list[int | None] = field(default_factory=list)
    """Of each file; None where the process was killed."""
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[tuple[str, str, list[str]]] = field(default_factory=list)
    """Name, type and file names of each artifact."""
    deprecated: str = ""
    """Calls that W&B itself has counted as deprecated."""


def wandb_files(folder: Path) -> WandbFiles:
    """Everything in `<folder>/wandb`."""
    found = WandbFiles()
    for path in sorted((folder / "wandb").glob("*run-*/run-*.wandb")):
        found.ids.append(path.stem.removeprefix("run-"))
        found.exit_codes.append(None)
        for data in _records(path.read_bytes()):
            _take(found, data)
    return found


def _take(found: WandbFiles, data: bytes) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    record = Record.FromString(data)
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run = record.run
        own = {"id": run.run_id, "name": run.display_name, "group": run.run_group, "job_type": run.job_type}
        found.settings.append(own)
    elif kind == "history":
        values = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
        own = {key: value for key, value in values.items() if not key.startswith("_")}
        found.rows.append((record.history.step.num, own))
    elif kind == "summary":
        found.summary |= {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.summary.update}
    elif kind == "exit":
        found.exit_codes[-1] = record.exit.exit_code
    elif kind == "artifact":
        artifact = record.artifact
        found.artifacts.append((artifact.name, artifact.type, sorted(e.path for e in artifact.manifest.contents)))
    elif kind == "telemetry":
        found.deprecated += str(record.telemetry.deprecated)


def _records(data: bytes) -> list[bytes]:
    """The records of a file: LevelDB's log format after a header, each part with the CRC-32 of its kind and bytes."""
    assert data[:4] == b":W&B"
    records, parts, at = [], b"", 7
    while len(data) - at >= 7:
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        crc, length, kind = struct.unpack("<IHB", data[at : at + 7])
        body = data[at + 7 : at + 7 + length]
        if kind == 0 or len(body) < length:  # the end of what a killed process had written
            break
        assert zlib.crc32(bytes([kind]) + body) == crc, f"damaged at byte {at}"
        parts = body if kind in (1, 2) else parts + body
        if kind in (1, 4):
            records.append(parts)
        at += 7 + length
    return records


def tensorboard_points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of every point that TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
