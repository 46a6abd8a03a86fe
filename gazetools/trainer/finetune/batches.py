"""Batches of heads: read, changed and preprocessed by worker processes; every number follows from seed and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gazetools.metrics.gaze import target_heatmap
from gazetools.schemas.finetune_augment import AugmentSettings
from gazetools.store import open_store
from gazetools.trainer.finetune.augment import SeededDraws, augmented
from gazetools.trainer.finetune.feature_shelf import FeatureShelf, is_mirrored, is_whole
from gazetools.trainer.finetune.gaze_network import GazeNetwork, MakesInputs, NetworkInputs
from gazetools.trainer.finetune.head_sample import Floats, HeadSample, Pixels, Teaching
from gazetools.trainer.finetune.labelled import LabelledHead, PicturePlace
from gazetools.trainer.finetune.pictures import Pictures

NO_AUGMENTATION = AugmentSettings(photometric=0, crop=0, flip=0, jitter=0)


@dataclass(frozen=True, kw_only=True)
class HeadBatch:
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
    kept: torch.Tensor | None = None
    """Kept features of K pictures [K, ...], which `inputs.picture_index` counts after the P of `inputs.pictures`."""
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
        shelf: FeatureShelf | None = None,
    ) -> None:
        self._heads, self._augment, self._seed, self._shelf = heads, augment, seed, shelf
        self._inputs: MakesInputs = network.preprocessing()
        self._teacher_inputs = None if teacher is None else teacher.preprocessing()
        self._size_hw, self._sigma = network.out_size, network.target_sigma
        self._pictures: Pictures | None = None

    def make(self, places: Sequence[int], epoch: int) -> HeadBatch:
        """The batch of these heads in `epoch`. Raises VideoError for a picture that can't be read."""
        if self._shelf is not None:
            return self._with_kept(self._shelf, places, epoch)
        read: dict[PicturePlace, Pixels] = {}
        samples = [self._sample(place, epoch, read) for place in places]
        return self._batch(samples, places, self._inputs(samples))

    def _with_kept(self, shelf: FeatureShelf, places: Sequence[int], epoch: int) -> HeadBatch:
        """Pictures are read for the samples that show a part of them; of the others the tower's features are read."""
        read: dict[PicturePlace, Pixels] = {}
        samples, parts, whole = [], [], []  # the last two are numbers of samples
        numbers: dict[tuple[PicturePlace, bool], int] = {}
        kept_of: list[int] = []
        for number, place in enumerate(places):
            picture = self._heads[place].place
            outline = shelf.outline(picture)
            sample = self._augmented(place, epoch, outline)
            if is_whole(sample, outline):
                whole.append(number)
                kept_of.append(numbers.setdefault((picture, is_mirrored(sample)), len(numbers)))
            else:
                parts.append(number)
                sample = self._sample(place, epoch, read)
            samples.append(sample)
        shown = [*(samples[number] for number in parts), *_showing_nothing([samples[number] for number in whole])]
        inputs = self._inputs(shown)
        pictures = inputs.pictures[:-1] if whole else inputs.pictures  # the last one stands for all that are kept
        index = torch.cat(
            [inputs.picture_index[: len(parts)], len(pictures) + torch.tensor(kept_of, dtype=torch.int64)]
        )
        back = torch.tensor([*parts, *whole]).argsort()
        inputs = replace(inputs, pictures=pictures, picture_index=index[back], prompts=inputs.prompts[back])
        kept = [shelf.read(place, mirrored=mirrored) for place, mirrored in numbers]
        return replace(self._batch(samples, places, inputs), kept=torch.stack(kept) if kept else None)

    def _batch(self, samples: Sequence[HeadSample], places: Sequence[int], inputs: NetworkInputs) -> HeadBatch:
        targets = torch.stack([torch.from_numpy(self._target(sample)) for sample in samples])
        taught = [sample.teaching.inout for sample in samples if sample.teaching is not None]
        return HeadBatch(
            inputs=inputs,
            targets_nhw=targets,
            inside_n=torch.tensor([sample.inside for sample in samples], dtype=torch.bool),
            inout_n=None if not taught else torch.tensor([1.0 if one is None else one for one in taught]),
            places=list(places),
            teacher_inputs=None if self._teacher_inputs is None else self._teacher_inputs(samples),
        )

    def _sample(self, place: int, epoch: int, read: dict[PicturePlace, Pixels]) -> HeadSample:
        head = self._heads[place]
        if head.place not in read:
            self._pictures = self._pictures or Pictures()
            read[head.place] = self._pictures.read(head.place)
        return self._augmented(place, epoch, read[head.place])

    def _augmented(self, place: int, epoch: int, picture: Pixels) -> HeadSample:
        sample = _sample_of(self._heads[place], picture)
        return augmented(sample, SeededDraws(self._seed, epoch, place), self._augment)

    def _target(self, sample: HeadSample) -> Floats:
        height, width = self._size_hw
        if sample.teaching is None:
            return target_heatmap(*sample.gaze_shares, height=height, width=width, sigma=self._sigma)
        import cv2

        return np.asarray(cv2.resize(np.ascontiguousarray(sample.teaching.heatmap), (width, height)), np.float32)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_pictures": None}  # open videos stay in their process


def _showing_nothing(samples: Sequence[HeadSample]) -> list[HeadSample]:
    """The samples on one picture of a single pixel: of their inputs only what says where the heads are is wanted."""
    pixel = np.zeros((1, 1, 3), np.uint8)
    return [replace(sample, picture=pixel, box_xyxy=sample.box_shares) for sample in samples]


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
