"""Heads per second of `finetune`'s loop and of a plain loop written as upstream's; alternated rounds, medians.

    python benchmarks/finetune.py --model gazelle_tiny --rounds 3

The plain loop does what fkryan/gazelle scripts/train_gazefollow.py does (c845713): for every head a worker opens the
picture with Pillow, crops, mirrors and jitters, makes a float tensor and resizes it; the frozen tower runs once per
head. Weights, loss and optimizer are the same. `kept` counts a whole training of --epochs with data.keep_features:
computing the features, and then every epoch from them. Pictures are synthetic JPEGs of 640x480.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from gazetools.gazemodels.gazelle.preprocess import IMAGENET_MEAN, IMAGENET_STD
from gazetools.metrics.gaze import target_heatmap
from gazetools.progress import NoProgress
from gazetools.schemas.finetune_augment import AugmentSettings
from gazetools.schemas.finetune_learning import FinetuneLearning
from gazetools.schemas.finetune_model import FinetuneModel
from gazetools.trainer.finetune.batch_loading import LoadedItems, MakesSteps, StepOrder
from gazetools.trainer.finetune.batches import BatchMaker
from gazetools.trainer.finetune.gaze_network import GazeNetwork, NetworkInputs
from gazetools.trainer.finetune.kept_features import FeatureKeeper
from gazetools.trainer.finetune.labelled import LabelledHead, PicturePlace
from gazetools.trainer.finetune.learner import GazeLearner, StepPlace
from gazetools.trainer.finetune.networks import open_network
from gazetools.trainer.processes.world import World

CPU = torch.device("cpu")


def write_pictures(folder: Path, *, pictures: int, heads: int) -> list[LabelledHead]:
    """Smooth noise as JPEG, so that sizes and decoding are those of photographs."""
    draw = np.random.default_rng(0)
    found = []
    for number in range(pictures):
        path = folder / f"{number}.jpg"
        coarse = draw.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
        for _ in range(heads):
            x, y = draw.random(2) * 0.8
            gaze = (float(draw.random()), float(draw.random()))
            box = (float(x), float(y), float(x + 0.15), float(y + 0.2))
            name = str(number)
            found.append(
                LabelledHead(
                    place=PicturePlace(path=path), box_shares=box, gaze_shares=(gaze,), inside=True, video=name,
                    person=name, row=name,
                )
            )  # fmt: skip
    return found


class PlainHeads(Dataset[tuple[torch.Tensor, tuple[float, ...], torch.Tensor]]):
    """A head with its own copy of the picture, as upstream's dataset makes it."""

    def __init__(self, heads: Sequence[LabelledHead], in_size: tuple[int, int], augment: AugmentSettings) -> None:
        self.heads, self.in_size, self.augment = heads, in_size, augment

    def __len__(self) -> int:
        return len(self.heads)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, tuple[float, ...], torch.Tensor]:
        head, augment = self.heads[item], self.augment
        image = Image.open(head.place.path).convert("RGB")
        width, height = image.size
        x0, y0, x1, y1 = (v * side for v, side in zip(head.box_shares, (width, height) * 2, strict=True))
        gx, gy = head.gaze_shares[0][0] * width, head.gaze_shares[0][1] * height
        if augment.crop and random.random() <= augment.crop:
            left, top = random.randint(0, int(min(x0, gx))), random.randint(0, int(min(y0, gy)))
            right, bottom = random.randint(int(max(x1, gx)), width), random.randint(int(max(y1, gy)), height)
            right, bottom = max(right, left + 1), max(bottom, top + 1)
            image = image.crop((left, top, right, bottom))
            x0, x1, gx, y0, y1, gy = x0 - left, x1 - left, gx - left, y0 - top, y1 - top, gy - top
            width, height = image.size
        if augment.flip and random.random() <= augment.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            x0, x1, gx = width - x1, width - x0, width - gx
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        pixels = F.interpolate(
            ((pixels - mean) / std)[None], self.in_size, mode="bilinear", align_corners=False, antialias=True
        )[0]
        box = (x0 / width, y0 / height, x1 / width, y1 / height)
        return pixels, box, torch.from_numpy(target_heatmap(gx / width, gy / height, height=64, width=64))


def collate(items: Sequence[Any]) -> tuple[torch.Tensor, list[Any], torch.Tensor]:
    """Stacked pictures and targets."""
    pictures, boxes, targets = zip(*items, strict=True)
    return torch.stack(pictures), list(boxes), torch.stack(targets)


class Plain:
    """Upstream's loop."""

    def __init__(self, heads: Sequence[LabelledHead], options: argparse.Namespace, augment: AugmentSettings) -> None:
        self.network = opened(options)
        self.optimizer = torch.optim.Adam(self.network.learning().values(), lr=1e-3)
        dataset = PlainHeads(heads, self.network.in_size, augment)
        self.loader = DataLoader(
            dataset,
            options.batch,
            shuffle=True,
            collate_fn=collate,
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
        )

    def epoch(self) -> Iterator[int]:
        """Take the steps of an epoch; heads of each."""
        from gazetools.gazemodels.gazelle.prompts import head_maps

        for pictures, boxes, targets in self.loader:
            maps = head_maps(boxes, self.network.config.grid)
            inputs = NetworkInputs(pictures=pictures, picture_index=torch.arange(len(boxes)), prompts=maps)
            answer = self.network(inputs, "probabilities")
            loss = F.binary_cross_entropy(answer.maps, targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield len(boxes)


class Ours:
    """The loop of `finetune`."""

    def __init__(
        self, heads: Sequence[LabelledHead], options: argparse.Namespace, augment: AugmentSettings, folder: Path | None
    ) -> None:
        network = opened(options)
        learning = FinetuneLearning(batch_size=options.batch, loss={"inout_weight": 0})  # type: ignore[arg-type]
        self.learner = GazeLearner(network, learning, device=CPU, world=World(), seed=0)
        began, shelf = time.perf_counter(), None
        if folder is not None:
            keeper = FeatureKeeper(
                folder=folder,
                network=network,
                autocast=nullcontext,
                workers=options.workers,
                world=World(),
                progress=NoProgress(),
                stopped=lambda: False,
            )
            shelf = keeper.shelf(heads, mirrored=augment.flip > 0)
        self.fill_seconds = time.perf_counter() - began
        maker = BatchMaker(heads, network, augment, seed=0, shelf=shelf)
        self.order = StepOrder(heads=len(heads), seed=0, batch_size=options.batch)
        items = range(self.order.steps_per_epoch * options.rounds)
        self.items = iter(LoadedItems(MakesSteps(maker=maker, order=self.order), items, workers=options.workers))
        self.step = 0
        network.train()

    def epoch(self) -> Iterator[int]:
        """Take the steps of an epoch; heads of each."""
        for step in range(self.order.steps_per_epoch):
            batches = next(self.items)
            place = StepPlace(epoch=0, step_in_epoch=step, step=self.step, steps=1, epochs=15)
            self.learner.step(batches, place)
            self.step += 1
            yield sum(len(batch.places) for batch in batches)


def opened(options: argparse.Namespace) -> GazeNetwork:
    """The model, equal weights every time."""
    torch.manual_seed(0)
    return open_network(FinetuneModel(name=options.model, checkpoint=options.checkpoint))


def rate(epoch: Iterator[int]) -> float:
    """Heads per second from the second step on."""
    next(epoch)
    began, heads = time.perf_counter(), 0
    for count in epoch:
        heads += count
    return heads / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gazelle_tiny")
    parser.add_argument("--checkpoint", help="weights of a named model, such as tests/helpers/random_checkpoints.py's")
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--heads", type=int, default=1, help="heads in a picture")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="threads of both loops' training process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15, help="epochs over which computing features is counted")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    whole, jitter = AugmentSettings(), AugmentSettings(crop=0, flip=0)
    with tempfile.TemporaryDirectory() as name:
        heads = write_pictures(Path(name), pictures=options.pictures, heads=options.heads)
        kept = {
            "ours, kept features": Ours(heads, options, whole, Path(name) / "features"),
            "ours, kept features, jitter alone": Ours(heads, options, jitter, Path(name) / "features"),
        }
        loops: dict[str, Callable[[], Iterator[int]]] = {
            "plain": Plain(heads, options, whole).epoch,
            "ours": Ours(heads, options, whole, None).epoch,
            **{key: loop.epoch for key, loop in kept.items()},
        }
        rates: dict[str, list[float]] = {key: [] for key in loops}
        for _ in range(options.rounds):
            for key, loop in loops.items():
                rates[key].append(rate(loop()))
        found = {key: statistics.median(values) for key, values in rates.items()}
        for key, one in kept.items():
            seconds = one.fill_seconds + options.epochs * len(heads) / found[key]
            found[f"{key}, {options.epochs} epochs with their computing"] = options.epochs * len(heads) / seconds
    print(json.dumps({key: round(value, 2) for key, value in found.items()} | {"options": vars(options)}, indent=2))


if __name__ == "__main__":
    main()
