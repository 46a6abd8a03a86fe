"""Features of a frozen tower, computed once per picture (and mirror image) and kept in files of the run folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gazetools.io.atomic import atomic_path
from gazetools.io.space import check_space
from gazetools.progress import Progress
from gazetools.trainer.finetune.batch_loading import LoadedItems
from gazetools.trainer.finetune.feature_shelf import CHUNK, FeatureShelf
from gazetools.trainer.finetune.gaze_network import GazeNetwork, MakesInputs
from gazetools.trainer.finetune.head_sample import HeadSample
from gazetools.trainer.finetune.labelled import LabelledHead, PicturePlace
from gazetools.trainer.finetune.pictures import Pictures
from gazetools.trainer.processes.world import World


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Pictures as the tower takes them, and their sizes."""

    pictures: torch.Tensor
    """float32 [n, 3, H, W]; with mirror images [2n, 3, H, W]: those come second."""
    sizes_wh: torch.Tensor
    """int64 [n, 2]."""


@dataclass(frozen=True, kw_only=True)
class _MakesChunks:
    """Reads and preprocesses the pictures of chunk k."""

    places: Sequence[PicturePlace]
    inputs: MakesInputs
    mirrored: bool

    def __call__(self, item: int) -> _Chunk:
        reader = Pictures()
        pictures = [reader.read(place) for place in self.places[item * CHUNK : (item + 1) * CHUNK]]
        reader.close()
        sizes = torch.tensor([(picture.shape[1], picture.shape[0]) for picture in pictures])
        pictures += [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures] if self.mirrored else []
        samples = [
            HeadSample(picture=picture, box_xyxy=(0.0, 0.0, 1.0, 1.0), gaze_xy=((0.0, 0.0),), inside=False)
            for picture in pictures
        ]
        return _Chunk(pictures=self.inputs(samples).pictures, sizes_wh=sizes)


@dataclass(frozen=True, kw_only=True)
class FeatureKeeper:
    """Fills shelves in a folder with the features of one network's tower, all processes together."""

    folder: Path
    network: GazeNetwork
    autocast: Callable[[], Any]
    """Makes the context in which the training runs the tower."""
    workers: int
    world: World
    progress: Progress
    stopped: Callable[[], bool]
    """Whether a signal came; KeyboardInterrupt is raised then, and the finished chunks are kept."""

    def shelf(self, heads: Sequence[LabelledHead], *, mirrored: bool) -> FeatureShelf:
        """The features of the pictures of `heads`, those that are not there yet computed now.

        Raises FaultError where the disk has no room for them, VideoError for a picture that can't be read.
        """
        places = sorted({head.place for head in heads}, key=lambda place: (str(place.path), place.frame or 0))
        shelf = FeatureShelf(self.folder / self._key(places, mirrored), places, mirrored=mirrored)
        world = self.world
        missing = world.gather(shelf.missing())[0]  # one list for all: others may write already
        own = missing[world.rank :: world.size]
        if world.leads and missing:
            shelf.folder.mkdir(parents=True, exist_ok=True)
            self.progress.start("features", len(missing), unit="chunks")
        world.barrier()
        make = _MakesChunks(places=places, inputs=self.network.preprocessing(), mirrored=mirrored)
        loaded = LoadedItems(make, own, workers=self.workers if own else 0)
        chunks = iter(loaded)
        try:
            for turn in range(0, len(missing), world.size):  # all processes take all turns, so that all see a signal
                if self.stopped():
                    raise KeyboardInterrupt("The features that are ready are kept; the same command goes on.")
                if turn + world.rank < len(missing):
                    self._write(shelf, missing[turn + world.rank], next(chunks), left=len(missing) - turn)
                self.progress.advance("features", min(world.size, len(missing) - turn))
        finally:
            loaded.close()
        world.barrier()
        if world.leads and missing:
            self.progress.finish("features")
        return shelf

    @torch.no_grad()
    def _write(self, shelf: FeatureShelf, number: int, chunk: _Chunk, *, left: int) -> None:
        from safetensors.torch import save_file

        device = next(self.network.parameters()).device
        self.network.eval()
        with self.autocast():
            features = self.network.tower_features(chunk.pictures.to(device)).cpu()
        check_space(
            shelf.folder,
            needed_bytes=left * features.numel() * features.element_size(),
            needed_files=left,
            what="data.keep_features",
            hint="Set data.keep_features to false, or folder to a larger disk.",
        )
        tensors = {"features": features.contiguous(), "sizes_wh": chunk.sizes_wh}
        with atomic_path(shelf.path(number)) as temp:
            save_file(tensors, temp)

    def _key(self, places: Sequence[PicturePlace], mirrored: bool) -> str:
        """Digest of all that features depend on: tower, number type, input, pictures and their files."""
        digest = hashlib.sha256()
        for tower in self.network.towers():
            for name, tensor in sorted(tower.state_dict().items()):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).tobytes())
        files = {place.path: place.path.stat() for place in places}
        listed = [(str(place.path), place.frame) for place in places]
        facts = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in sorted(files.items())]
        with self.autocast():
            dtype = str((torch.ones(1, 1) @ torch.ones(1, 1)).dtype)
        device = next(self.network.parameters()).device.type
        described = [self.network.name, self.network.in_size, dtype, device, mirrored, listed, facts]
        digest.update(json.dumps(described, default=str).encode())
        return digest.hexdigest()[:16]
