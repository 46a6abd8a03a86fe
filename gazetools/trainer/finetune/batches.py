"""Batches of heads: read, changed and preprocessed by worker processes; every number follows from seed and place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from gazetools.metrics.gaze import target_heatmap
from gazetools.schemas.finetune_augment import AugmentSettings
from gazetools.store import open_store
from gazetools.trainer.data.order import epoch_order
from gazetools.trainer.finetune.augment import SeededDraws, augmented
from gazetools.trainer.finetune.gaze_network import GazeNetwork, MakesInputs, NetworkInputs
from gazetools.trainer.finetune.head_sample import Floats, HeadSample, Pixels, Teaching
from gazetools.trainer.finetune.labelled import LabelledHead, PicturePlace
from gazetools.trainer.finetune.pictures import Pictures

NO_AUGMENTATION = AugmentSettings(photometric=0, crop=0, flip=0, jitter=0)


@dataclass(frozen=True, kw_only=True)
class GazeBatch:
    """N heads as a network and its loss take them."""

    inputs: NetworkInputs
    targets_nhw: torch.Tensor
    """float32 [N, h, w]."""
    inside_n: torch.Tensor
    """bool [N]."""
    inout_n: torch.Tensor | None
    """float32 [N]: a teacher's in/out scores; None: `inside_n` says it."""
    places: list[int]
    """Place of each head in the set."""
    teacher_inputs: NetworkInputs | None = None
    """The same heads as a teacher takes them; None: there is none, or it takes what the network takes."""


class BatchMaker:
    """From places in a list of heads to a batch; the picture of several heads is read once."""

    def __init__(
        self,
        heads: Sequence[LabelledHead],
        network: GazeNetwork,
        augment: AugmentSettings,
        *,
        seed: int,
        teacher: GazeNetwork | None = None,
    ) -> None:
        self._heads, self._augment, self._seed = heads, augment, seed
        self._inputs: MakesInputs = network.preprocessing()
        self._teacher_inputs = None if teacher is None else teacher.preprocessing()
        self._size_hw, self._sigma = network.out_size, network.target_sigma
        self._pictures: Pictures | None = None

    def make(self, places: Sequence[int], epoch: int) -> GazeBatch:
        """The batch of these heads in `epoch`. Raises VideoError for a picture that can't be read."""
        read: dict[PicturePlace, Pixels] = {}
        samples = [self._sample(place, epoch, read) for place in places]
        targets = torch.stack([torch.from_numpy(self._target(sample)) for sample in samples])
        taught = [sample.teaching.inout for sample in samples if sample.teaching is not None]
        scores = None if not taught else torch.tensor([1.0 if one is None else one for one in taught])
        return GazeBatch(
            inputs=self._inputs(samples),
            targets_nhw=targets,
            inside_n=torch.tensor([sample.inside for sample in samples], dtype=torch.bool),
            inout_n=scores,
            places=list(places),
            teacher_inputs=None if self._teacher_inputs is None else self._teacher_inputs(samples),
        )

    def _sample(self, place: int, epoch: int, read: dict[PicturePlace, Pixels]) -> HeadSample:
        head = self._heads[place]
        if head.place not in read:
            self._pictures = self._pictures or Pictures()
            read[head.place] = self._pictures.read(head.place)
        sample = _sample_of(head, read[head.place])
        return augmented(sample, SeededDraws(self._seed, epoch, place), self._augment)

    def _target(self, sample: HeadSample) -> Floats:
        height, width = self._size_hw
        if sample.teaching is None:
            return target_heatmap(*sample.gaze_shares, height=height, width=width, sigma=self._sigma)
        import cv2

        return np.asarray(cv2.resize(np.ascontiguousarray(sample.teaching.heatmap), (width, height)), np.float32)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_pictures": None}  # open videos stay in their process


def _sample_of(head: LabelledHead, picture: Pixels) -> HeadSample:
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = head.box_shares
    teaching = None if head.teacher_row is None else _teaching(*head.teacher_row)
    shares = head.gaze_shares if teaching is None else (_peak(teaching),)
    return HeadSample(
        picture=picture,
        box_xyxy=(x0 * width, y0 * height, x1 * width, y1 * height),
        gaze_xy=tuple((x * width, y * height) for x, y in shares),
        inside=head.inside if teaching is None or teaching.inout is None else teaching.inout >= 0.5,
        teaching=teaching,
    )


def _teaching(store: Path, row: int) -> Teaching:
    with open_store(store) as reader:
        inout = float(reader.row_inout[row])
        heatmap = reader.read_heatmaps(row, row + 1)[0].astype(np.float32)
    return Teaching(heatmap=heatmap, inout=None if np.isnan(inout) else inout)


def _peak(teaching: Teaching) -> tuple[float, float]:
    height, width = teaching.heatmap.shape
    row, column = divmod(int(teaching.heatmap.argmax()), width)
    return (column + 0.5) / width, (row + 0.5) / height


@dataclass(frozen=True, kw_only=True)
class StepPlaces:
    """The heads of one step: those of this process, in parts."""

    parts: tuple[tuple[int, ...], ...]


def epoch_steps(
    count: int, *, seed: int, epoch: int, batch_size: int, parts: int, rank: int, ranks: int
) -> list[StepPlaces]:
    """The steps of an epoch: a permutation of all heads, cut into batches, the last one smaller.

    Each process takes every `ranks`-th head of a batch, so that the batch does not depend on the number of processes.
    """
    order = epoch_order(count, seed=seed, epoch=epoch)
    steps = []
    for start in range(0, count, batch_size):
        own = order[start : start + batch_size][rank::ranks].tolist()
        size = max(1, -(-len(own) // parts))
        steps.append(StepPlaces(parts=tuple(tuple(own[at : at + size]) for at in range(0, len(own), size))))
    return steps


class _Parts(Dataset[GazeBatch]):
    """Item k: the batch of the k-th part of some steps."""

    def __init__(self, maker: BatchMaker, parts: Sequence[tuple[int, ...]], epoch: int) -> None:
        self._maker, self._parts, self._epoch = maker, parts, epoch

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, item: int) -> GazeBatch:
        return self._maker.make(self._parts[item], self._epoch)


def load_batches(
    maker: BatchMaker, parts: Sequence[tuple[int, ...]], *, epoch: int, workers: int
) -> Iterator[GazeBatch]:
    """The batches of `parts`, in their order, made ahead by `workers` processes (0: by this one)."""
    loader: DataLoader[GazeBatch] = DataLoader(
        _Parts(maker, parts, epoch),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=3 if workers else None,
        worker_init_fn=_one_thread,
        generator=torch.Generator(),  # its own: the global one must not depend on how often loading begins
    )
    return iter(loader)


def _one_thread(worker: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
