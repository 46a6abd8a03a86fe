"""`Subject`: one video's heatmaps, as far as they could be read; every check receives one."""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.values import to_float32
from gazetools.io.arrays import AnyArray
from gazetools.schemas.dataset import PackedVideo, PackOptions, SampledRow
from gazetools.schemas.findings import Finding
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.heads import BoxFileOptions
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.provenance import GROUND_TRUTH, Provenance
from gazetools.schemas.video import Remark, VideoInfo
from gazetools.validation.catalogue import finding
from gazetools.validation.verdict import Verdict

if TYPE_CHECKING:
    from gazetools.annotations.segment import Segment
    from gazetools.gazemodels import GazeModel

Kind = Literal["store", "dataset", "foreign"]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class MapStats:
    """Smallest and largest value, sum and CRC-32 of each map [N]; NaN and infinities show in the first three."""

    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    total: Floats
    digest: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.low)

    @classmethod
    def of(cls, blocks: Iterator[AnyArray], scale: float) -> MapStats:
        """Statistics of blocks [n, H, W] or [n, 1, H, W] in their stored dtype; values times `scale` lie in 0..1."""
        lows, highs, totals = [], [], []
        digests: list[int] = []
        for block in blocks:
            digests += [zlib.crc32(row.data) for row in np.ascontiguousarray(block)]
            maps = to_float32(block, scale).reshape(len(block), -1)
            lows.append(maps.min(axis=1))
            highs.append(maps.max(axis=1))
            with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, huge sums: reported by low and high
                totals.append(maps.sum(axis=1).astype(np.float64))
        empty = np.zeros(0, np.float32)
        return cls(
            low=np.concatenate([empty, *lows]),
            high=np.concatenate([empty, *highs]),
            total=np.concatenate([empty.astype(np.float64), *totals]),
            digest=np.array(digests, dtype=np.uint32),
        )


@dataclass(frozen=True, kw_only=True)
class StoreColumns:
    """The small columns of a store file: F processed frames and N rows, one per frame and person."""

    frame_index: Ints
    frame_pts: Floats
    row_frame: Ints
    row_track: npt.NDArray[np.int32]
    row_box: npt.NDArray[np.float32]
    row_prompt: npt.NDArray[np.uint8]
    tracks: dict[int, str]


@dataclass(frozen=True, kw_only=True)
class VideoTruth:
    """Facts about the video from decoding it to its end."""

    path: Path
    decoded_frames: int
    pts_seconds: Floats
    damage: tuple[str, ...]
    declared_frames: int | None
    rate: Fraction
    """Frames per second as the container states them."""
    size_hw: tuple[int, int]
    """Height and width of decoded frames, after rotation."""
    packets: int
    """Packets with a picture; hidden ones included."""
    hidden_packets: int
    luma_digests: npt.NDArray[np.uint32]
    """[decoded_frames] checksum of each picture."""
    sha256: str | None
    """None where there is no provenance to compare with."""
    info: VideoInfo
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeepCheck:
    """Settings of `--deep`, with the model loaded; `frames` are sampled per video."""

    frames: int
    model: GazeModel | None = None
    heads: str | None = None
    """`file:PATH` or `whole`, for heatmaps that have no head boxes of their own."""
    box_files: BoxFileOptions = field(default_factory=BoxFileOptions)
    """How the box file is read."""
    people: str | None = None
    """Whose maps the heatmaps are, of the people of `heads`, in the words of `PackOptions.people`; None: not stated."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """One forward pass at a time."""


@dataclass(kw_only=True)
class Subject:
    """One video's heatmaps. Loading fills in what can be read; a check whose input is None reports nothing."""

    kind: Kind
    video_id: str
    path: Path
    """The .h5, .npz or .npy file or the folder of frames."""
    sidecar: Path | None = None
    """Sidecar of a store file, origin file of a packed video."""
    entry: PackedVideo | None = None
    options: PackOptions | None = None
    findings: list[Finding] = field(default_factory=list)
    provenance: Provenance | None = None
    stats: MapStats | None = None
    """One entry per row of a store, per grid row of a dataset."""
    size_hw: tuple[int, int] | None = None
    bad_tokens: Bools | None = None
    """[N] rows of a store whose scene tokens are not finite; None: it keeps none."""
    valid: Bools | None = None
    inout: npt.NDArray[np.float32] | None = None
    pts_seconds: Floats | None = None
    columns: StoreColumns | None = None
    fingerprint_index: Ints | None = None
    fingerprints: npt.NDArray[np.uint8] | None = None
    """uint8 [S, 32, 32] thumbnails of the decoded frames `fingerprint_index`."""
    samples: list[SampledRow] = field(default_factory=list)
    """Rows of a dataset whose head boxes are stored with it."""
    video: VideoTruth | None = None
    root: Path | None = None
    """The folder that was given, which links may not leave; None where it is a store or one file."""
    choice: ArrayChoice = field(default_factory=ArrayChoice)
    """Array, axes and first number of another tool's heatmaps."""
    times: PictureTimes = field(default_factory=PictureTimes)
    """Options for the times of a folder of frames."""
    deep: DeepCheck | None = None
    content: Verdict | None = None
    """How the content lies against the video's frames; None where it was not compared."""
    clips: list[Segment] = field(default_factory=list)
    """Annotated actions of this video."""
    counts: Counter[str] = field(default_factory=Counter)
    """Numbers that checks add to the summary of the report."""

    @property
    def count(self) -> int | None:
        """T of a dataset or foreign file; None where unknown, and for stores, whose rows are people."""
        return None if self.stats is None or self.kind == "store" else len(self.stats)

    @property
    def row_count(self) -> int:
        """Number of maps that were read."""
        return 0 if self.stats is None else len(self.stats)

    @property
    def has_map(self) -> Bools:
        """[row_count] rows that count as having a map; all of them where `valid` is unknown."""
        if self.valid is not None and len(self.valid) == self.row_count:
            return self.valid
        return np.ones(self.row_count, dtype=np.bool_)

    @property
    def is_ground_truth(self) -> bool:
        """Whether the maps were drawn from eye tracking instead of by a model."""
        return self.provenance is not None and self.provenance.model.name == GROUND_TRUTH

    def finding(self, code: str, message: str, frames: Iterable[int] | None = None) -> Finding:
        """A finding about this video."""
        return finding(code, message, video_id=self.video_id, frames=frames)

    def about_rows(self, code: str, rows: Bools, text: str) -> Iterator[Finding]:
        """The finding `N of M {text}` where any of the M `rows` is set."""
        yield from self.about_frames(code, self.frames_of_rows(rows), f"{int(rows.sum())} of {len(rows)} {text}")

    def about_frames(self, code: str, frames: Sequence[int] | Ints, message: str) -> Iterator[Finding]:
        """The finding about `frames`, where there are any."""
        if len(frames):
            yield self.finding(code, message, frames)

    def report(self, code: str, message: str, frames: Iterable[int] | None = None) -> None:
        """Add a finding while the subject is being filled in; checks return theirs."""
        self.findings.append(self.finding(code, message, frames))

    def has_finding(self, prefix: str) -> bool:
        """Whether a finding whose code begins with `prefix` was reported so far."""
        return any(found.code.startswith(prefix) for found in self.findings)

    def forget(self) -> None:
        """Drop everything but identity and findings, so that memory does not grow with the number of videos."""
        self.provenance = self.stats = self.columns = self.video = None
        self.valid = self.inout = self.pts_seconds = self.fingerprint_index = self.fingerprints = None
        self.content = None
        self.samples, self.clips = [], []

    def frames_of_rows(self, rows: npt.NDArray[Any]) -> list[int]:
        """Frame numbers of rows (indices or a mask): decoded frames in a store, grid rows elsewhere."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        if self.columns is not None:
            chosen = np.unique(self.columns.row_frame[chosen])
        return [int(frame) for frame in chosen]


def stated_frames(subject: Subject) -> int | None:
    """Number of decoded frames that the heatmaps say the video has; None where their rows are not its frames."""
    if subject.columns is not None:
        return subject.provenance.video.frame_count if subject.provenance else len(subject.columns.frame_index)
    options = subject.options
    if options is None or (options.align == "video" and options.fps is None):
        return subject.count
    return None
