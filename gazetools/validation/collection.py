"""List the videos of a store, a dataset or a folder of other tools' heatmaps, and the files that belong to none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from gazetools.io.atomic import TEMP_MARK
from gazetools.io.find_files import SearchNotes, files_with
from gazetools.io.folders import below
from gazetools.io.json_files import read_json
from gazetools.layouts.foreign import UNREAD_FORMATS, WITHOUT_MAPS
from gazetools.layouts.locate import list_foreign, list_unread, raw_manifest
from gazetools.layouts.registry import FOREIGN, LAYOUTS, foreign_suffix, layout_named
from gazetools.schemas.base import explain_validation_error
from gazetools.schemas.dataset import MANIFEST_NAME, ORIGIN_SUFFIX, README_NAME, PackedVideo, PackOptions
from gazetools.schemas.errors import DataFileError, GazetoolsError, UsageError
from gazetools.schemas.findings import Finding
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.store import REPORT_NAMES, SIDECAR_SUFFIX, STORE_SUFFIX, WORK_FOLDER
from gazetools.schemas.video_id import check_video_id
from gazetools.store import list_store
from gazetools.store.listing import read_sidecar
from gazetools.validation.catalogue import finding
from gazetools.validation.subject import Kind, Subject


@dataclass(kw_only=True)
class Collection:
    """The videos of the path that `validate` was given."""

    kind: Kind
    root: Path
    subjects: list[Subject] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Findings about the folder itself."""
    is_one_file: bool = False
    """Whether the path is one file of heatmaps instead of a folder."""

    def add(self, subject: Subject) -> None:
        """Add a video; an id that can't be one is reported."""
        subject.root = None if self.kind == "store" else self.root
        try:
            check_video_id(subject.video_id)
        except GazetoolsError as error:
            subject.report("bad-id", error.message)
        self.subjects.append(subject)


def collect(path: Path, choice: ArrayChoice) -> Collection:
    """The videos of a store, a dataset, other tools' heatmaps, or one file of these; the latter are read by `choice`.

    Raises UsageError where there are none, and for a choice among heatmaps of gazetools.
    """
    collection = _collected(path)
    if collection.kind != "foreign":
        choice.refuse_for(f"The {collection.kind} {path}")
    for subject in collection.subjects:
        subject.choice = choice.chosen
    return collection


def _collected(path: Path) -> Collection:
    try:
        if path.is_file() or foreign_suffix(path) == ".zarr":
            return _single(path)
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise UsageError(
            f"Cannot open {path}: {error.strerror}.", hint="Pass a store, a dataset or a folder of heatmaps."
        ) from error
    if MANIFEST_NAME in names:
        collection = _dataset(path)
    elif _is_store(path):
        collection = _store(path)
    else:
        collection = _foreign(path)
    if not collection.subjects and not collection.findings:
        raise UsageError(
            f"{path} holds no heatmaps: no store (.h5), no dataset ({MANIFEST_NAME}), and no .npz, .npy, .pt or .zarr.",
            hint="Pass the folder of extract -o or pack -o, or a folder of heatmaps.",
        )
    _report_unfinished(collection)
    _report_case_twins(collection)
    return collection


def _single(path: Path) -> Collection:
    suffix = path.suffix.lower()
    if suffix == STORE_SUFFIX:
        sidecar = path.with_suffix(SIDECAR_SUFFIX)
        subject = Subject(kind="store", video_id=_id_of_single_store(path, sidecar), path=path, sidecar=sidecar)
        return Collection(kind="store", root=path.parent, subjects=[subject], is_one_file=True)
    if (suffix := foreign_suffix(path)) in FOREIGN:
        subject = Subject(kind="foreign", video_id=path.name[: len(path.name) - len(suffix)], path=path)
        return Collection(kind="foreign", root=path.parent, subjects=[subject], is_one_file=True)
    raise UsageError(
        f"{path} is no heatmap file (.h5, .npz, .npy, .pt, .zarr).", hint="Pass a store, a dataset or a folder."
    )


def _id_of_single_store(path: Path, sidecar: Path) -> str:
    """`take/cam01` for the file cam01.h5 whose sidecar says so, else the file's stem."""
    try:
        stated = read_sidecar(sidecar).video_id
    except DataFileError:
        return path.stem
    return stated if stated.rsplit("/", 1)[-1] == path.stem else path.stem


def _is_store(path: Path) -> bool:
    if any(files_with(path, STORE_SUFFIX)) or any((path / name).exists() for name in REPORT_NAMES):
        return True
    return any(_is_sidecar(file) for file in files_with(path, SIDECAR_SUFFIX))


def _is_sidecar(path: Path) -> bool:
    try:
        value = read_json(path, max_bytes=1 << 20)
    except DataFileError:
        return False
    return isinstance(value, dict) and value.get("schema_name") == "gazetools.store.sidecar"


def _store(root: Path) -> Collection:
    collection = Collection(kind="store", root=root)
    known = {root / name for name in REPORT_NAMES}
    notes = SearchNotes()
    for entry in list_store(root, notes):
        known |= {entry.payload, entry.sidecar}
        if not entry.payload.exists() and not _is_sidecar(entry.sidecar):
            collection.findings.append(finding("stray-file", f"{entry.sidecar} is no sidecar and has no payload."))
            continue
        collection.add(Subject(kind="store", video_id=entry.video_id, path=entry.payload, sidecar=entry.sidecar))
    if faults := notes.faults():
        collection.findings.append(finding("part-left-out", f"In {root}: {'; '.join(faults)}."))
    _report_strays(collection, known)
    return collection


def _dataset(root: Path) -> Collection:
    collection = Collection(kind="dataset", root=root)
    try:
        manifest = raw_manifest(root)
        options = PackOptions.model_validate(manifest.get("options"))
    except (DataFileError, ValidationError) as error:
        message = error.message if isinstance(error, DataFileError) else f"its options: {error.errors()[0]['msg']}"
        foreign = _foreign(root)
        foreign.findings.insert(0, finding("manifest-unreadable", f"{root / MANIFEST_NAME}: {message}"))
        return foreign
    known = {root / MANIFEST_NAME, root / README_NAME, *LAYOUTS[options.layout].shared_files(root)}
    for video_id, value in manifest["videos"].items():
        try:
            entry = PackedVideo.model_validate(value)
            if layout_named(video_id, entry.file) is None:
                raise DataFileError(f"its file {entry.file!r} is not named after it")
        except (ValidationError, DataFileError) as error:
            problems = [str(error)]
            if isinstance(error, ValidationError):
                problems = explain_validation_error(error, PackedVideo)
            message = f"The entry of {video_id!r}: {'; '.join(problems)}."
            collection.findings.append(finding("manifest-unreadable", message, video_id=video_id))
            suffixes = [layout.suffix for layout in LAYOUTS.values()]
            known |= {root / (video_id + suffix) for suffix in (*suffixes, ORIGIN_SUFFIX)}
            continue
        subject = Subject(kind="dataset", video_id=video_id, path=root / entry.file, entry=entry, options=options)
        subject.sidecar = root / (video_id + ORIGIN_SUFFIX)
        known |= {subject.path, subject.sidecar}
        collection.add(subject)
    _report_strays(collection, known)
    return collection


def _foreign(root: Path) -> Collection:
    """Every .npz, .pt, .zarr, every folder of numbered .npy files, every other .npy is one video."""
    collection = Collection(kind="foreign", root=root)
    for name, paths in list_foreign(root).items():
        subject = Subject(kind="foreign", video_id=name, path=paths[0])
        if len(paths) > 1:
            subject.report("duplicate-id", f"{' and '.join(map(str, paths))} are both of {name!r}.")
        collection.add(subject)
    read = {subject.path for subject in collection.subjects}
    for path in list_unread(root):
        if path not in read:
            message = f"{path} is not read: {path.suffix} is {UNREAD_FORMATS.get(path.suffix.lower(), WITHOUT_MAPS)}."
            collection.findings.append(finding("file-not-read", message))
    return collection


def _report_strays(collection: Collection, known: set[Path]) -> None:
    for path in sorted(below(collection.root)):
        relative = path.relative_to(collection.root)
        is_hidden = any(part.startswith(".") for part in relative.parts)
        if not path.is_file() or is_hidden or path in known or path.parent in known:
            continue
        collection.findings.append(finding("stray-file", f"{path} belongs to no video of the {collection.kind}."))


def _report_unfinished(collection: Collection) -> None:
    left = sorted(path for path in below(collection.root) if path.name.startswith(".") and TEMP_MARK in path.name)
    work = collection.root / WORK_FOLDER
    if work.is_dir() and any(p.is_file() for p in below(work)):
        left.append(work)
    for path in left:
        collection.findings.append(finding("unfinished-work", f"{path} was left by a run that did not finish."))


def _report_case_twins(collection: Collection) -> None:
    seen: dict[str, str] = {}
    for subject in collection.subjects:
        other = seen.setdefault(subject.video_id.casefold(), subject.video_id)
        if other != subject.video_id:
            subject.report("duplicate-id", f"{subject.video_id!r} and {other!r} differ only in case.")
