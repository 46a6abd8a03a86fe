"""Options of `extract` and the report of what became of every input."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gazetools.schemas.base import Choices, StrictModel
from gazetools.schemas.heads import DEFAULT_DETECTOR, DEFAULT_POSE, DetectOptions

SmallHeads = Literal["grow", "crop", "none"]
BACKEND_NAMES = Choices("gazetools", "upstream")
"""Keys of `gazetools.gazemodels.registry.BACKENDS`."""
PIECE_FRAMES = 256
"""Processed frames per piece: what a killed run can lose, and what bounds memory (8 MiB of maps per person)."""


class ExtractOptions(StrictModel):
    """How videos become raw heatmaps."""

    model: str = "gazelle_dinov2_vitb14_inout"
    """A released Gaze-LLE model, the path of a self-describing .safetensors file, `centre-prior`, `head-direction`, or
    a registered name (`gazetools.gazemodels`)."""
    backend: Annotated[str, BACKEND_NAMES] = "gazetools"
    """`upstream` runs Gaze-LLE by an importable package `gazelle`."""
    checkpoint: str | None = None
    """Weights of the named model; None: the cache, else the download."""
    backbone: str | None = None
    """DINOv2 weights (hub .pth, .safetensors or a Hugging Face folder) where the checkpoint has none."""
    heads: str = "whole"
    """`file:PATH` (a file, or a folder matched by video id), `detect[:NAME]` (a first pass finds and follows heads, see
    `gazetools.schemas.heads.DetectOptions.detector`), `calib` (the wearer of an Ego-Exo4D take, from its cameras and
    trajectory) or `whole` (no box: Gaze-LLE's None prompt)."""
    takes: str | None = None
    """Of an Ego-Exo4D root: take names, uids or patterns separated by commas; None: every take that is there."""
    cameras: str | None = None
    """Of an Ego-Exo4D root: camera names or patterns such as `cam01,cam02`; None: all of `views`."""
    views: Literal["exo", "ego", "exo,ego"] = "exo"
    """Of an Ego-Exo4D root: which cameras."""
    pose: str = DEFAULT_POSE
    """Keypoint model of `detect`."""
    detect_score: float = Field(default=0.5, gt=0, lt=1)
    """`detect` takes a person up from this score on."""
    detect_every: int = Field(default=1, ge=1)
    """`detect` looks at every N-th decoded frame; `fill_gaps` gives the others boxes."""
    fill_gaps: int = Field(default=0, ge=0)
    """Boxes on straight lines where a track is missing for up to this many frames. They look into the future: packs
    made from them say so, and training refuses them without `allow_future`."""
    heads_first_frame: int | None = Field(default=None, ge=0)
    """Frame number of the first row of a headerless `IMAGE_NAME,left,top,right,bottom` file."""
    people: str = "all"
    """`all`, `largest` (biggest box of each frame), `wearer`, or track ids separated by commas."""
    fps: float | None = Field(default=None, gt=0)
    """Process the frames nearest to this rate; None: every frame."""
    stride: int | None = Field(default=None, ge=1)
    """Process every N-th decoded frame."""
    start: float | None = None
    """Seconds (pts); frames before are not processed."""
    end: float | None = None
    """Seconds (pts); frames at or after are not processed."""
    batch_size: int | Literal["auto"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`; several, separated by commas, give one worker process each."""
    engine: Literal["local", "slurm", "ray"] = "local"
    """Where the workers run: on this machine, as a Slurm job array, or as actors of a Ray cluster."""
    shard: str | None = None
    """`I/N`, I from 1: do the I-th of N balanced shares of the work; all N together do everything once."""
    decode_timeout: float = Field(default=60.0, gt=0)
    """Seconds to wait for one frame before its decoding process is killed."""
    decode_memory: float | None = Field(default=None, gt=0)
    """GiB of address space for a decoding process; None: no limit."""
    decode_threads: int = Field(default=0, ge=0)
    """Threads of a decoding process, 0 = one per core."""
    small_heads: SmallHeads = "grow"
    """Boxes that round to no cell of the model's grid: `grow` to one cell, `crop` (the model sees an enlarged part of
    the frame around the head, its map is put back into the frame) or `none` (no prompt); per row recorded."""
    preprocess: Literal["exact", "fast"] = "exact"
    """`fast` resizes 8-bit values on the CPU: within one level of 255 of `exact`, several times faster at 1080p."""
    allow_damaged: bool = False
    """Take what can be decoded of a file that is not whole, instead of failing it."""
    overwrite: bool = False
    """Extract again what was extracted with other options."""
    check_space: bool = True
    """Stop where the store's disk has too little room: by an estimate before the work, exactly before each video."""

    @field_validator("batch_size")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1, or auto")
        return value

    @field_validator("heads")
    @classmethod
    def _known_head_source(cls, value: str) -> str:
        if value in {"whole", "calib", "detect"} or re.fullmatch(r"(file|detect):.+", value):
            return value
        raise ValueError("must be detect[:NAME], calib, file:PATH or whole")

    @field_validator("device")
    @classmethod
    def _known_devices(cls, value: str) -> str:
        if "," in value and not all(re.fullmatch(r"cpu|cuda(:\d+)?", name) for name in value.split(",")):
            raise ValueError("several devices are written like cuda:0,cuda:1")
        return value

    @field_validator("shard")
    @classmethod
    def _known_shard(cls, value: str | None) -> str | None:
        if value is not None:
            match = re.fullmatch(r"(\d+)/(\d+)", value)
            if not match or not 1 <= int(match[1]) <= int(match[2]):
                raise ValueError("must be I/N with 1 <= I <= N, such as 2/8")
        return value

    @field_validator("people")
    @classmethod
    def _known_people(cls, value: str) -> str:
        if value in {"all", "largest", "wearer"} or re.fullmatch(r"-?\d+(,-?\d+)*", value):
            return value
        raise ValueError("must be all, largest, wearer or track ids such as 1,2")

    @model_validator(mode="after")
    def _consistent(self) -> ExtractOptions:
        if self.fps is not None and self.stride is not None:
            raise ValueError("fps and stride exclude each other; give one")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start ({self.start}) must be before end ({self.end})")
        if self.detect_every > 1 and self.fill_gaps < self.detect_every - 1:
            raise ValueError(
                f"detect_every {self.detect_every} leaves frames without boxes; set fill_gaps to at least "
                f"{self.detect_every - 1}"
            )
        return self

    def detection(self) -> DetectOptions | None:
        """How heads are detected; None where they come from elsewhere."""
        kind, _, name = self.heads.partition(":")
        if kind != "detect":
            return None
        return DetectOptions(
            detector=name or DEFAULT_DETECTOR,
            pose=self.pose,
            score=self.detect_score,
            low_score=min(0.1, self.detect_score),
            every=self.detect_every,
            device=self.devices[0],
        )

    @property
    def devices(self) -> list[str]:
        """One device per worker."""
        return self.device.split(",")

    @property
    def shard_index_and_count(self) -> tuple[int, int]:
        """(I - 1, N) of `shard`; (0, 1) without one."""
        if self.shard is None:
            return 0, 1
        index, count = self.shard.split("/")
        return int(index) - 1, int(count)

    def shaping(self) -> dict[str, Any]:
        """The options that shape the numbers or the choice of frames, for provenance and the options key."""
        names = ["people", "fps", "stride", "start", "end", "small_heads", "heads_first_frame", "allow_damaged"]
        names += ["fill_gaps", "preprocess"]
        return {name: getattr(self, name) for name in names}


class ItemResult(StrictModel):
    """What became of one input video."""

    video_id: str
    path: str
    status: Literal["done", "complete", "part", "failed"]
    """done: extracted now. complete: was already there with the same options. part: this shard's share of a long video
    is finished; the shard that finishes last joins it. failed: see `reason`."""
    reason: str | None = None
    frames: int = 0
    rows: int = 0
    frames_without_people: int = 0
    small_heads: int = 0
    """Rows whose box rounded to no cell of the model's grid."""
    clipped_boxes: int = 0
    head_counts: dict[str, float] = Field(default_factory=dict)
    """What the source of the head boxes has to say, such as frames without a box by reason (`--heads calib`)."""
    resumed_frames: int = 0
    """Frames taken over from pieces of an earlier, interrupted run."""
    seconds: float = 0.0


class StageTimes(StrictModel):
    """Seconds per stage, summed over the workers; the stages of a worker's main loop add up to its wall time."""

    workers: int
    wall: float
    frames: int
    """Frames computed now; those taken over from earlier runs do not count."""
    detect: float = 0.0
    """The first pass of `--heads detect`, with the decoding that it waited for."""
    open: float
    """Opening files: reading their index and head boxes."""
    decode_wait: float
    """The model waited for frames."""
    prompt: float
    """Head prompts, fingerprints and book-keeping per frame."""
    model: float
    """Preprocessing and the model, with the copies to and from the device."""
    write_wait: float
    """The model waited for pieces to be written."""
    join: float
    """Assembling and committing store files, as far as the next video did not hide it."""
    other: float
    decode_busy: float
    """Decoding processes at work, beside the main loop."""
    write_busy: float
    """Writing pieces and store files, beside the main loop."""

    def __add__(self, more: StageTimes) -> StageTimes:
        return StageTimes(**{name: getattr(self, name) + getattr(more, name) for name in StageTimes.model_fields})

    @property
    def frames_per_second(self) -> float:
        """Of all workers together."""
        return self.frames * self.workers / self.wall if self.wall else 0.0

    @property
    def bottleneck(self) -> str:
        """The stage that most time would be saved by speeding up."""
        waits = {"decode": self.decode_wait, "model": self.model + self.prompt, "write": self.write_wait + self.join}
        waits |= {"detect": self.detect, "open": self.open, "other": self.other}
        return max(waits, key=lambda stage: waits[stage])


class ExtractReport(StrictModel):
    """`STORE/extract_report.json`: every input, also the failed ones."""

    schema_name: Literal["gazetools.extract.report"] = "gazetools.extract.report"
    schema_version: int = 1
    tool_version: str
    options: dict[str, Any]
    shard: str | None = None
    """`I/N` in the report of one shard; None in that of a whole run and in the merged one."""
    profile: StageTimes | None = None
    items: list[ItemResult]

    @property
    def failed(self) -> list[ItemResult]:
        """The inputs without a result."""
        return [item for item in self.items if item.status == "failed"]

    @property
    def exit_code(self) -> int:
        """1 with any failed input, else 0."""
        return int(bool(self.failed))
