"""`push`: check a dataset in shards and upload it to the Hugging Face hub with the hub's own library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gazetools.io.atomic import TEMP_MARK, sha256_of_file
from gazetools.io.folders import below
from gazetools.io.json_files import read_json
from gazetools.layouts.locate import read_manifest
from gazetools.layouts.registry import LAYOUTS
from gazetools.progress import NoProgress, Progress
from gazetools.schemas.dataset import MANIFEST_NAME, ORIGIN_SUFFIX, README_NAME, SHARDED, WORK_FOLDER, Manifest
from gazetools.schemas.errors import DataFileError, EnvironmentLacksError, FaultError, GazetoolsError, UsageError
from gazetools.schemas.push import PushedFile, PushOptions, PushReport
from gazetools.schemas.shards import MAX_SHARD_INDEX_BYTES, SHARD_INDEX_NAME, ShardIndexFile

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_AGAIN = "Run the same command again: what has arrived is not sent again."
_LOG_IN = "Run `hf auth login`, or set HF_TOKEN to a token with the permission to write."
_NOT_UPLOADED = [".*", "*/.*"]
"""Hidden files, in the words of the hub's library, whose `*` also matches `/`."""


def push(
    folder: str | Path, repo: str, *, options: PushOptions | None = None, progress: Progress | None = None
) -> PushReport:
    """Upload a dataset of the layout `hf` or `webdataset` as the dataset `org/name` of the Hugging Face hub.

    Every shard is compared with its sha256 first. Files that the hub has already are not sent again, so that the same
    call resumes an interrupted upload. Token and address are those of the library: HF_TOKEN or `hf auth login`, and
    HF_ENDPOINT.

    Args:
        folder: the dataset, as `pack` or `convert` made it.
        repo: `org/name`; made where it does not exist.
        options: branch, visibility, and whether to upload at all.
        progress: receives bytes checked.

    Raises UsageError for folders, names and permissions that do not fit, EnvironmentLacksError without package or
    token, FaultError where the connection fails.
    """
    folder, options, progress = Path(folder), options or PushOptions(), progress or NoProgress()
    if not _REPO.fullmatch(repo):
        raise UsageError(f"{repo!r} is no name of a dataset of the hub.", hint="Write ORGANISATION/NAME or USER/NAME.")
    manifest = _complete_manifest(folder)
    files = _own_files(folder, manifest)
    _check_shards(folder, progress)
    report = PushReport(
        repo=repo,
        files=[PushedFile(name=path.relative_to(folder).as_posix(), bytes=path.stat().st_size) for path in files],
        notes=_notes(manifest),
    )
    if options.dry_run:
        return report
    return report.model_copy(update={"address": _upload(folder, repo, options)})


def _complete_manifest(folder: Path) -> Manifest:
    if not (folder / MANIFEST_NAME).is_file():
        raise UsageError(f"{folder} is no dataset: it has no {MANIFEST_NAME}.", hint="Pass the folder of pack -o.")
    manifest = read_manifest(folder)
    if manifest.layout not in SHARDED:
        raise UsageError(
            f"{folder} has the layout {manifest.layout}, which the hub's users can't load by its name.",
            hint=f"gazetools convert {folder} -o NEW --layout hf, then push NEW.",
        )
    if (folder / WORK_FOLDER).exists() or any(TEMP_MARK in path.name for path in below(folder)):
        raise UsageError(f"{folder} has work of a run that did not finish.", hint="Run that command again first.")
    return manifest


def _own_files(folder: Path, manifest: Manifest) -> list[Path]:
    """The files of the dataset. UsageError where one is missing, or another file would be uploaded with them."""
    own = {folder / MANIFEST_NAME, folder / README_NAME, *LAYOUTS[manifest.layout].shared_files(folder)}
    for video_id, entry in manifest.videos.items():
        own.add(folder / entry.file)
        own |= {folder / (video_id + ORIGIN_SUFFIX)} if entry.origin_sha256 else set()
    if missing := sorted(path for path in own if not path.is_file()):
        raise DataFileError(f"{missing[0]} is missing ({len(missing)} files).", hint="Run gazetools validate on it.")
    found = {path for path in below(folder) if path.is_file() and not _is_hidden(path.relative_to(folder))}
    if others := sorted(found - own):
        raise UsageError(
            f"{folder} holds {len(others)} files that are not of the dataset, such as {others[0]}; they would be "
            "uploaded too.",
            hint="Move them elsewhere.",
        )
    return sorted(own)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _check_shards(folder: Path, progress: Progress) -> None:
    """Compare every shard with `index.json`. DataFileError names the first that differs."""
    path = folder / SHARD_INDEX_NAME
    try:
        listed = ShardIndexFile.model_validate(read_json(path, max_bytes=MAX_SHARD_INDEX_BYTES)).shards
    except ValidationError:
        raise DataFileError(f"{path} is not a list of shards.", hint="Run the same pack or convert again.") from None
    progress.start("shards", len(listed), unit="shards")
    for entry in listed:
        shard = folder / entry.file
        if not shard.is_file() or shard.stat().st_size != entry.bytes or sha256_of_file(shard) != entry.sha256:
            raise DataFileError(
                f"The shard {shard} is not the one that {SHARD_INDEX_NAME} states.",
                hint="Remove it and run the same pack or convert again.",
            )
        progress.advance("shards")
    progress.finish("shards")


def _notes(manifest: Manifest) -> list[str]:
    notes = ["manifest.json and the .origin.json files name the paths of the videos on this machine."]
    if manifest.layout == "hf" and manifest.options.license is None:
        notes.append("The card says that the licence is unknown (--license of pack and convert states it).")
    return notes


def _upload(folder: Path, repo: str, options: PushOptions) -> str:
    """Address of the commit."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise EnvironmentLacksError(
            f"Uploads use the package huggingface_hub, which can't be imported ({error}).",
            hint="pip install 'gazetools[hub]'",
        ) from error
    with _explained(repo):
        api = huggingface_hub.HfApi(library_name="gazetools")
        api.create_repo(repo, repo_type="dataset", private=not options.public, exist_ok=True)
        if options.branch is not None:
            api.create_branch(repo, repo_type="dataset", branch=options.branch, exist_ok=True)
        commit: Any = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            revision=options.branch,
            commit_message=options.message,
            ignore_patterns=_NOT_UPLOADED,
        )
    return str(commit.commit_url)


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Errors of the hub's library as errors that say what to do."""
    from huggingface_hub import errors

    try:
        yield
    except GazetoolsError:
        raise
    except errors.LocalTokenNotFoundError as error:
        raise EnvironmentLacksError("There is no token of the Hugging Face hub here.", hint=_LOG_IN) from error
    except errors.OfflineModeIsEnabled as error:
        raise EnvironmentLacksError("HF_HUB_OFFLINE is set: nothing is uploaded.", hint="Unset it.") from error
    except errors.HfHubHTTPError as error:
        raise _of_status(repo, error) from error
    except (OSError, RuntimeError) as error:
        raise FaultError(f"The upload to {repo} stopped: {_first_line(error)}.", hint=_AGAIN) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise
        raise FaultError(f"The hub can't be reached: {_first_line(error)}.", hint=_AGAIN) from error


def _of_status(repo: str, error: Any) -> GazetoolsError:
    """The error for an answer of the hub that is no success."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = _first_line(getattr(error, "server_message", None) or error)
    if status == 401:
        return EnvironmentLacksError(f"The hub does not accept the token (or there is none): {said}.", hint=_LOG_IN)
    if status == 403:
        return UsageError(
            f"The token may not write to {repo}: {said}.",
            hint="Use a token with the permission to write, of a member of the organisation.",
        )
    if status in (400, 404, 409, 413, 422):
        return UsageError(f"The hub refuses the upload to {repo} ({status}): {said}.", hint="Correct it and try again.")
    return FaultError(f"The hub answered {status} to the upload to {repo}: {said}.", hint=_AGAIN)


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
