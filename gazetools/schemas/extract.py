"""Options of `extract` and the report of what became of every input."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gazetools.schemas.base import Choices, StrictModel, conflict, matching
from gazetools.schemas.flags import Flag
from gazetools.schemas.heads import DEFAULT_DETECTOR, DEFAULT_POSE, BoxFileOptions, DetectOptions, FirstRow
from gazetools.schemas.left_out import LeftOutFiles
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.stage_times import StageTimes
from gazetools.schemas.tokens import TokenOptions
from gazetools.schemas.video import HdrRule

ENGINE_NAMES = Choices("local", "slurm", "ray")
"""Words of `ExtractOptions.engine`; their objects are in `gazetools.engines.registry`."""
SmallHeads = Literal["grow", "crop", "none"]
BACKEND_NAMES = Choices("gazetools", "upstream")
"""Keys of `gazetools.gazemodels.registry.BACKENDS`."""
PIECE_FRAMES = 256
"""Processed frames per piece: what a killed run can lose, and what bounds memory (8 MiB of maps per person)."""
_Video, _Model = Flag(panel="Which frames and people"), Flag(panel="Model")
_Run, _Scale = Flag(panel="Run"), Flag(panel="Many videos and machines")
_HEADS = matching(r"whole|calib|detect|(file|detect):.+", "must be detect[:NAME], calib, file:PATH or whole")
_PEOPLE = matching(r"all|largest|wearer|-?\d+(,-?\d+)*", "must be all, largest, wearer or track ids such as 1,2")
_DEVICES = matching(r"[^,]*|(cpu|cuda(:\d+)?)(,(cpu|cuda(:\d+)?))*", "several devices are written like cuda:0,cuda:1")


class ExtractOptions(BoxFileOptions, TokenOptions, PictureTimes):
    """How videos become raw heatmaps."""

    heads: Annotated[str, _HEADS, _Video] = "whole"
    """`file:PATH` (CSV, or a folder matched by video id), `detect[:NAME]` (rtdetr, dfine, yunet, OWNER/MODEL of the
    hub, a model folder or a YuNet .onnx), `calib` (the wearer of an Ego-Exo4D take) or `whole` (no box).

    `detect` finds and follows heads in a first pass, see `gazetools.schemas.heads.DetectOptions`; `calib` computes them
    from the take's cameras and trajectory; `whole` is Gaze-LLE's None prompt."""
    people: Annotated[str, _PEOPLE, _Video] = "all"
    """`all`, `largest` (biggest box of each frame), `wearer`, or track ids such as 1,2."""
    takes: Annotated[str | None, _Video] = None
    """Ego-Exo4D root: take names, uids or patterns, separated by commas."""
    cameras: Annotated[str | None, _Video] = None
    """Ego-Exo4D root: camera names or patterns such as cam01,cam02."""
    views: Annotated[Literal["exo", "ego", "exo,ego"], _Video] = "exo"
    """Ego-Exo4D root: `exo`, `ego` or `exo,ego`."""
    first_row: Annotated[FirstRow, _Video] = "start"
    """calib: `start` or `start+1`, the row of timesync.csv that is frame 0, counted from timesync_start_idx.

    Published sources differ by this one frame (docs/egoexo4d.md); `validate` measures which one a take supports."""
    small_heads: Annotated[SmallHeads, _Video] = "grow"
    """Heads below one cell of the model's grid: `grow`, `crop` or `none`.

    `grow` to one cell; `crop`: the model sees an enlarged part of the frame around the head, and its map is put back
    into the frame; `none`: no prompt. Each row records which it was. PaGE, which sees a crop of every head, takes small
    ones as they are with `grow`, and leaves them out with `none`."""
    fill_gaps: Annotated[int, _Video] = Field(default=0, ge=0)
    """Interpolate boxes over up to so many missing frames.

    Such boxes look into the future: packs made from them say so, and training refuses them without `allow_future`."""
    pose: Annotated[str, _Video] = DEFAULT_POSE
    """detect: ViTPose for the keypoints, OWNER/MODEL or a folder."""
    detect_score: Annotated[float, _Video] = Field(default=0.5, gt=0, lt=1)
    """detect: a person is taken up from this score on."""
    detect_every: Annotated[int, _Video] = Field(default=1, ge=1)
    """detect: look at every N-th frame (with --fill-gaps, which gives the others boxes)."""
    fps: Annotated[float | None, _Video] = Field(default=None, gt=0)
    """Process the frames nearest to this rate (default: every frame)."""
    stride: Annotated[int | None, _Video] = Field(default=None, ge=1)
    """Process every N-th decoded frame."""
    start: Annotated[float | None, _Video] = None
    """First time in seconds (pts)."""
    end: Annotated[float | None, _Video] = None
    """End time in seconds (pts), not included."""
    model: Annotated[str, _Model] = "gazelle_dinov2_vitb14_inout"
    """A name that `gazetools models` lists, or the path of a self-describing .safetensors, of PaGE or of an .onnx."""
    checkpoint: Annotated[str | None, _Model] = None
    """Weights of the named model (default: the cache, else the download)."""
    backbone: Annotated[str | None, _Model] = None
    """DINOv2 weights (.pth, .safetensors, Hugging Face folder) where the checkpoint has none."""
    dtype: Annotated[Literal["auto", "float32", "tf32", "bfloat16", "float16"], _Model] = "auto"
    """`auto`, `float32`, `tf32` (CUDA), `bfloat16` or `float16`.

    `auto` is the fastest that gives the same gaze as float32 on the first frames: docs/models.md says what that means.
    Several runs into one store keep its choice."""
    backend: Annotated[str, BACKEND_NAMES, _Model] = "gazetools"
    """`gazetools`, or `upstream`: an importable package `gazelle`."""
    runtime: Annotated[Literal["torch", "onnxruntime", "openvino", "tensorrt", "auto"] | None, _Model] = None
    """Program that computes the model: `torch` (default), `onnxruntime` (default for .onnx files), `openvino`,
    `tensorrt`, or `auto`, which measures once and takes the fastest."""
    preprocess: Annotated[Literal["exact", "fast"], _Model] = "exact"
    """`exact`, or `fast`: resizes 8-bit values on the CPU, within one level of 255, several times faster at 1080p."""
    device: Annotated[str, _DEVICES, _Run] = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`; several like cuda:0,cuda:1 give one worker process each."""
    batch_size: Annotated[int | Literal["auto"], _Run] = "auto"
    """`auto` or a number of frames."""
    hdr: Annotated[HdrRule, _Video] = "tonemap"
    """HDR video (PQ, HLG): `tonemap` to SDR (method bt2390, as `gazetools.video.hdr` describes it), `refuse` it, or
    `raw`: its values as they are stored, which look washed out."""
    allow_damaged: Annotated[bool, _Run] = False
    """Take all that decodes of a broken file, also behind a hole, instead of failing it; what is lost is recorded."""
    overwrite: Annotated[bool, _Run] = False
    """Replace results made with other options."""
    check_space: Annotated[bool, _Run] = True
    """Begin only with room for what will probably come, and each video only with room for it. Off for disks that
    compress, or whose free space is not what they say."""
    engine: Annotated[str, ENGINE_NAMES, _Scale] = "local"
    """`local`, `slurm` (a job array; with --dry-run its script) or `ray` (actors of a cluster)."""
    shard: Annotated[str | None, _Scale] = None
    """I/N, I from 1: the I-th of N balanced shares. In a Slurm array I and N come from the environment."""
    decode_timeout: Annotated[float, _Scale] = Field(default=60.0, gt=0)
    """Seconds to wait for a frame before its decoder is killed."""
    decode_memory: Annotated[float | None, _Scale] = Field(default=None, gt=0)
    """GiB of address space for a decoding process (default: no limit)."""
    decode_threads: Annotated[int, _Scale] = Field(default=0, ge=0)
    """Threads of a decoding process; 0: one per core."""

    @field_validator("batch_size")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1, or auto")
        return value

    @field_validator("shard")
    @classmethod
    def _known_shard(cls, value: str | None) -> str | None:
        if value is not None:
            match = re.fullmatch(r"(\d+)/(\d+)", value)
            if not match or not 1 <= int(match[1]) <= int(match[2]):
                raise ValueError("must be I/N with 1 <= I <= N, such as 2/8")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ExtractOptions:
        if self.fps is not None and self.stride is not None:
            raise conflict(
                f"{{fps}} ({self.fps:g}) and {{stride}} ({self.stride}) exclude each other; give one of them"
            )
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise conflict(f"{{start}} ({self.start:g}) must be before {{end}} ({self.end:g})")
        if not self.heads.startswith("file:") and (given := self.shaping_of_boxes().keys() - {"heads_first_frame"}):
            named = ", ".join(f"{{{name}}}" for name in sorted(given))
            says = "says" if len(given) == 1 else "say"
            raise conflict(f"{named} {says} how a box file is read; {{heads}} {self.heads} reads none")
        if self.runtime == "torch" and self.model.lower().endswith(".onnx"):
            raise conflict(f"{{runtime}} torch does not run the ONNX file {{model}} {self.model}; use onnxruntime")
        if self.backend != "gazetools" and (self.runtime or "torch") != "torch":
            raise conflict(f"{{backend}} {self.backend} computes in torch, not by {{runtime}} {self.runtime}")
        if self.detect_every > 1 and self.fill_gaps < self.detect_every - 1:
            raise conflict(
                f"{{detect_every}} {self.detect_every} leaves frames without boxes; set {{fill_gaps}} to at least "
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
            **self.of_pictures().model_dump(),
        )

    @property
    def devices(self) -> list[str]:
        """One device per worker."""
        return self.device.split(",")

    @property
    def shard_index_and_count(self) -> tuple[int, int]:
        """(I - 1, N) of `shard`; (0, 1) without one."""
        index, count = (self.shard or "1/1").split("/")
        return int(index) - 1, int(count)

    def shaping(self) -> dict[str, Any]:
        """The options that shape the numbers or the choice of frames, for provenance and the options key."""
        names = ["people", "fps", "stride", "start", "end", "small_heads", "allow_damaged", "fill_gaps", "preprocess"]
        names += ["first_row"] if self.heads == "calib" else []
        # a default that came later: without its name, keys and stores of before stay equal
        names += ["hdr"] if self.hdr != "tonemap" else []
        return {**{name: getattr(self, name) for name in names}, **self.shaping_of_tokens(), **self.shaping_of_boxes()}


class ItemResult(StrictModel):
    """What became of one input video."""

    video_id: str
    path: str
    status: Literal["done", "complete", "part", "failed", "not_reached"]
    """done: extracted now. complete: was there with the same options. part: this shard's share of a long video is
    finished; the last shard joins it. failed: see `reason`. not_reached: the same command goes on with it."""
    reason: str | None = None
    frames: int = 0
    rows: int = 0
    frames_without_people: int = 0
    small_heads: int = 0
    """Rows whose box rounded to no cell of the model's grid."""
    people_not_evaluated: int = 0
    """People without a box that the model can take, where it needs one; they have no row."""
    clipped_boxes: int = 0
    head_counts: dict[str, float] = Field(default_factory=dict)
    """Counts by the source of the head boxes, such as frames without a box by reason (`--heads calib`)."""
    head_notes: list[str] = Field(default_factory=list)
    """How the box file was read where it is not in our own format, and doubts about it."""
    resumed_frames: int = 0
    """Frames taken over from pieces of an earlier, interrupted run."""
    taken_over_frames: int = 0
    """Frames taken over from the finished store with other head boxes that this one replaces."""
    seconds: float = 0.0
    notes: list[str] = Field(default_factory=list)
    """What is worth telling about a video that was done: HDR, gaps in its clock, frames that can't be decoded."""


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
    left_out: list[LeftOutFiles] = Field(default_factory=list)
    """What the search for videos did not take."""

    @property
    def failed(self) -> list[ItemResult]:
        """The inputs that could not be done."""
        return [item for item in self.items if item.status == "failed"]

    @property
    def not_reached(self) -> list[ItemResult]:
        """The inputs that a run has not come to."""
        return [item for item in self.items if item.status == "not_reached"]

    @property
    def exit_code(self) -> int:
        """1 with any failed input, or one that was not reached, else 0."""
        return int(bool(self.failed or self.not_reached))
