"""Whether a model's weights are on this machine, where from they come, and how they are fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gazetools.gazemodels.weights import RemoteFile, obtain
from gazetools.gazemodels.without_weights import RUNS_NOW
from gazetools.progress import Progress
from gazetools.schemas.errors import EnvironmentLacksError
from gazetools.schemas.model_facts import ModelFacts


@dataclass(frozen=True, kw_only=True)
class WeightsPresence:
    """The weights of one model on this machine."""

    present: bool
    """Whether `--model NAME` alone runs without a network."""
    files: tuple[Path, ...]
    """Where they are, or will be after the download; empty for models without files in the cache."""
    origin: str
    """Addresses that they come from; a word for models without any."""
    command: str
    """What makes the model run here, as a line for the shell."""


def weights_presence(facts: ModelFacts) -> WeightsPresence:
    """Look for the weights in the cache, without reading them or using the network."""
    runs = f"gazetools extract VIDEO -o STORE --model {facts.name}"
    if facts.weights in ("none", "package"):
        origin = "part of gazetools" if facts.weights == "package" else "no weights"
        return WeightsPresence(present=True, files=(), origin=origin, command=runs)
    if facts.weights == "own file":
        origin = f"{facts.home} ({facts.file_name})"
        command = f"{facts.fetched_by} && {runs} --checkpoint {facts.file_name}"
        return WeightsPresence(present=False, files=(), origin=origin, command=command)
    files = _remote_files(facts)
    present = all(file.cached.is_file() for file in files)
    return WeightsPresence(
        present=present,
        files=tuple(file.cached for file in files),
        origin=", ".join(file.url for file in files),
        command=runs if present else f"gazetools models {facts.name} --fetch",
    )


def fetch_weights(facts: ModelFacts, progress: Progress) -> list[tuple[Path, str]]:
    """(file, hex sha256) of the model's weights; those not in the cache are downloaded.

    [] for models without files in the cache. Raises EnvironmentLacksError as `obtain`, and for a model whose weights
    gazetools does not fetch.
    """
    if facts.weights == "own file":
        raise own_file_needed(facts)
    return obtain(_remote_files(facts), progress=progress) if facts.urls else []


def own_file_needed(facts: ModelFacts) -> EnvironmentLacksError:
    """The message for a model whose weights only the user may fetch."""
    return EnvironmentLacksError(
        f"The weights of {facts.name} are not fetched by gazetools (licence: {facts.weights_licence}).",
        hint=f"Read the licence at {facts.home}, fetch them where there is a network:\n  {facts.fetched_by}\n"
        f"and give them: --checkpoint {facts.file_name}\n{RUNS_NOW}",
        model=facts.name,
        commands=[facts.fetched_by],
    )


def _remote_files(facts: ModelFacts) -> list[RemoteFile]:
    options = ("--checkpoint", "--backbone")
    return [RemoteFile(url, option) for url, option in zip(facts.urls, options, strict=False)]
