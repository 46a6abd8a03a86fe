"""Where the time of an extraction went, stage by stage."""

from __future__ import annotations

from gazetools.schemas.base import StrictModel


class StageTimes(StrictModel):
    """Seconds per stage, summed over the workers; the stages of a worker's main loop add up to its wall time.

    `*_wait`: the model waits. `*_busy`: decoding and writing processes at work, in parallel with the main loop.
    """

    workers: int
    wall: float
    frames: int
    """Frames computed by this run, without those taken over from earlier runs."""
    detect: float = 0.0
    """The first pass of `--heads detect`, with its waits for frames."""
    open: float
    """Opening files: reading their index and head boxes."""
    decode_wait: float
    prompt: float
    """Head prompts, fingerprints and book-keeping per frame."""
    model: float
    """Preprocessing and the model, with the copies to and from the device."""
    write_wait: float
    join: float
    """Assembling and committing store files, without the part that ran in parallel with the next video."""
    other: float
    decode_busy: float
    write_busy: float
    people: int = 0
    """People computed by this run."""
    people_not_evaluated: int = 0
    """People whom the model could not evaluate, since they have no box that it can take."""
    peak_memory: int = 0
    """Bytes: largest resident memory of the workers' processes, added up; 0 where the system does not tell."""
    peak_device_memory: int = 0
    """Bytes: most memory of a CUDA device that each worker held, added up; 0 on a CPU."""

    def __add__(self, more: StageTimes) -> StageTimes:
        return StageTimes(**{name: getattr(self, name) + getattr(more, name) for name in StageTimes.model_fields})

    @property
    def frames_per_second(self) -> float:
        """Frames per second of all workers together."""
        return self.frames * self.workers / self.wall if self.wall else 0.0

    @property
    def bottleneck(self) -> str:
        """The stage whose speed-up would save the most time."""
        waits = {"decode": self.decode_wait, "model": self.model + self.prompt, "write": self.write_wait + self.join}
        waits |= {"detect": self.detect, "open": self.open, "other": self.other}
        return max(waits, key=lambda stage: waits[stage])
