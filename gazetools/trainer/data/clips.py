"""One clip as tensors: frames and heatmaps of the same moments under the same geometric transform."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from gazetools.io.open_files import OpenFiles, Recent
from gazetools.schemas.errors import DataFileError, GazetoolsError
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.batch import SHUFFLED, WITHOUT_PARTNER, Batch, Sample, Unreadable, collate
from gazetools.trainer.data.feature_cache import FeatureCache
from gazetools.trainer.data.frame_folders import FrameFolders
from gazetools.trainer.data.geometry import View, training_view, whole_view
from gazetools.trainer.data.index_cache import open_indexed
from gazetools.trainer.data.kept_videos import KeptVideos
from gazetools.trainer.data.labels import LabelSpace
from gazetools.trainer.data.maps.base import MapSource
from gazetools.trainer.data.maps.tokens import StoreTokens
from gazetools.trainer.data.observation import ClipOptions, Observation, Observer
from gazetools.trainer.data.order import partners_of
from gazetools.trainer.data.split import Clip, SplitPlan
from gazetools.trainer.data.transforms import erase, transform_frames, transform_heatmaps, transform_tokens
from gazetools.trainer.data.video_facts import VideoFacts
from gazetools.video.source import VideoSource

__all__ = ["Batch", "ClipDataset", "ClipOptions", "Sample", "Unreadable", "collate"]

_OPEN_VIDEOS = 8
_KNOWN_VIDEOS = 64


class ClipDataset(Dataset[Sample | Unreadable]):
    """The clips of a split; item i is a pure function of (seed, epoch, i), whichever process loads it.

    Args:
        split: the clips with anchor and anticipation times.
        data: frame rate, sizes, crops.
        labels: the training set's classes.
        options: what is drawn and shown.
        heatmaps: sources by name (gazetools.trainer.data.maps.build.build_sources).
        reader: opens a video; None: the exact reader, single-threaded inside a loader's worker, or that of pictures.
        features: cache of encoder tokens; a clip that it has is not decoded.
    """

    def __init__(
        self,
        split: SplitPlan,
        data: DataSettings,
        labels: LabelSpace,
        options: ClipOptions,
        *,
        heatmaps: Mapping[str, MapSource],
        reader: Callable[[Path], VideoSource] | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        self.split = split
        self.data = data
        self.labels = labels
        self.options = options
        self.heatmaps = heatmaps
        self.epoch = 0
        """Set before each training epoch; validation keeps 0, so that its draws never change."""
        self.observer = Observer(split=split, data=data, options=options)
        self.index_cache = options.index_cache or (Path(data.index_cache) if data.index_cache else None)
        pictures = FrameFolders.of(data)
        self.reader = pictures.open if reader is None and pictures is not None else reader
        self.features = features if self.observer.repeats and not options.future_frames else None
        """None where clips differ between epochs."""
        self._videos: OpenFiles[Path, VideoSource] = OpenFiles(_OPEN_VIDEOS)
        self._facts: Recent[Path, VideoFacts] = Recent(_KNOWN_VIDEOS)
        self._partners: Recent[tuple[str, int], npt.NDArray[np.int64]] = Recent(max(len(options.shuffled), 1))

    def __len__(self) -> int:
        return len(self.split.clips)

    def __getitem__(self, place: int) -> Sample | Unreadable:
        clip = self.split.clips[place]
        if get_worker_info() is not None:
            cv2.setNumThreads(1)  # the loader already has one worker per core
        try:
            return self._load(clip, place)
        except GazetoolsError as error:
            segment = clip.segment
            return Unreadable(clip=clip.index, video_id=segment.video_id, row=segment.row, reason=error.message)

    def seconds_of(self, place: int) -> float:
        """Length of the video of clip `place`, from its first frame to its last."""
        times = self._facts_of(self.split.clips[place]).pts_seconds
        return float(times[-1] - times[0])

    def _load(self, clip: Clip, place: int) -> Sample:
        """The main path: draw, choose frames, read maps, decode; one geometry for frames and maps."""
        data = self.data
        facts = self._facts_of(clip)
        seen = self.observer.observe(clip, facts, epoch=self.epoch)
        counts = {"clips_before_video": int(seen.frames_before_video > 0)}
        heatmaps = self._heatmaps(clip, seen, counts)
        heatmaps |= {f"{SHUFFLED}{name}": self._partner_maps(name, place, counts) for name in self.options.shuffled}
        key, features = self._cached(clip, facts, seen, counts)
        empty = torch.empty(3, 0, data.resolution, data.resolution)
        video, shown = (empty, None) if features is not None else self._decoded(clip, seen)
        if self.observer.augments and data.reprob > 0:
            video = erase(video, seen.random, probability=data.reprob)
        if self.options.future_frames:
            counts["future_missing"] = int(shown is None)
        return Sample(
            clip=clip.index,
            video=video,
            heatmaps=heatmaps,
            anticipation_seconds=seen.anticipation_seconds,
            labels=self.labels.encode(clip.segment) if self.split.labelled else {},
            counts=counts,
            future=(torch.zeros_like(video) if shown is None else shown) if self.options.future_frames else None,
            future_known=shown is not None,
            feature_key=key,
            features=features,
        )

    def _decoded(self, clip: Clip, seen: Observation) -> tuple[Tensor, Tensor | None]:
        """The observed frames and, by the geometry of the last of them, the future ones; each decoded once."""
        future = self.observer.future(seen)
        count = len(seen.asked.indices)
        asked = seen.asked.indices if future is None else np.concatenate([seen.asked.indices, future])
        views = seen.views + seen.views[-1:] * (len(asked) - count)
        order = np.argsort(asked, kind="stable")
        frames = _frames(self._video(clip.video_path), asked[order])
        ordered = [views[place] for place in order.tolist()]
        shown = transform_frames(frames, ordered, self.data.resolution, photometric=seen.photometric)
        if future is None:
            return shown, None
        shown = shown[:, torch.from_numpy(np.argsort(order, kind="stable"))]
        return shown[:, :count].contiguous(), shown[:, count:].contiguous()

    def _cached(
        self, clip: Clip, facts: VideoFacts, seen: Observation, counts: dict[str, int]
    ) -> tuple[str | None, Tensor | None]:
        """Key and tokens of the clip's features; DataFileError where they are not kept and the video is gone."""
        if self.features is None:
            return None, None
        key = self._key(self.features, clip, facts, seen)
        features = self.features.load(key)
        if features is None and not clip.video_path.exists():
            raise DataFileError(
                f"The video {clip.video_path} is gone, and {self.features.folder} lacks the features of this clip",
                hint="Fill the cache by gazetools train --cache-only where the videos are.",
            )
        counts |= {"features_cached": int(features is not None), "features_computed": int(features is None)}
        return key, features

    def facts_of(self, place: int) -> VideoFacts:
        """Facts of a clip's video, read from the file where it is there."""
        return self._facts_of(self.split.clips[place])

    def feature_key(self, place: int) -> str | None:
        """Key of a clip's features in this epoch; None where they are not kept."""
        if self.features is None:
            return None
        clip = self.split.clips[place]
        facts = self._facts_of(clip)
        return self._key(self.features, clip, facts, self.observer.observe(clip, facts, epoch=self.epoch))

    def _key(self, cache: FeatureCache, clip: Clip, facts: VideoFacts, seen: Observation) -> str:
        clip_facts = {
            "video": clip.segment.video_id,
            "file": facts.decoded_by,
            "frames": seen.asked.indices.tolist(),
            "views": [dataclasses.astuple(view) for view in dict.fromkeys(seen.views)],
            "side": self.data.resolution,
        }
        if seen.photometric or (seen.view is not None and self.data.reprob > 0):
            clip_facts |= {"clip": clip.index, "view": seen.view, "photometric": seen.photometric}
            clip_facts["erased"] = self.data.reprob
        return cache.key(clip_facts)

    def _heatmaps(self, clip: Clip, seen: Observation, counts: dict[str, int]) -> dict[str, Tensor]:
        """Maps of every source; `counts` receives how many are missing or invalid."""
        found = {}
        for number, name in enumerate(self.heatmaps):
            ending = f"_{name}" if number else ""
            counts[f"heatmap_missing{ending}"] = int(name not in clip.heatmap_ids)
            found[name], counts[f"heatmap_invalid_frames{ending}"] = self._maps_of(clip, name, seen)
        return found

    def _maps_of(self, clip: Clip, name: str, seen: Observation) -> tuple[Tensor, int]:
        """One source's maps as the clip shows them, zeros where it has none, and how many of them are invalid."""
        video_id = clip.heatmap_ids.get(name)
        if video_id is None:
            return self._no_maps(name, len(seen.asked.indices)), 0
        same = video_id == clip.segment.video_id
        source = self.heatmaps[name]
        maps = source.maps_of(video_id, dataclasses.replace(seen.asked, same_video=same))
        views = seen.views if same else self._other_view((maps.maps_thw.shape[1], maps.maps_thw.shape[2]), seen.random)
        if isinstance(source, StoreTokens):
            return transform_tokens(maps.maps_thw, views), maps.invalid_frames
        side = self.data.heatmap_resolution or self.data.resolution
        return transform_heatmaps(maps.maps_thw, views, side), maps.invalid_frames

    def _no_maps(self, name: str, count: int) -> Tensor:
        """Zeros for `count` frames, in the shape of the source's maps."""
        source, side = self.heatmaps[name], self.data.heatmap_resolution or self.data.resolution
        if isinstance(source, StoreTokens):
            grid, channels = source.size
            return torch.zeros(count, grid, grid * channels)
        return torch.zeros(count, side, side)

    def _other_view(self, map_hw: tuple[int, int], random: np.random.Generator) -> View:
        """Another camera's maps have nothing to do with the frames' crop: the whole map, or a crop of its own."""
        scale = self.data.heatmap_random_resize_scale
        if not self.options.training or scale == (1.0, 1.0):
            return whole_view(map_hw)
        return training_view(map_hw, random, scale=scale, aspect_ratio=self.data.random_resize_aspect_ratio, flip=False)

    def _partner_maps(self, name: str, place: int, counts: dict[str, int]) -> Tensor:
        """What the clip's partner sees of source `name` in this epoch; zeros without a partner, which is counted."""
        clips = self.split.clips

        def draw() -> npt.NDArray[np.int64]:
            has_maps = [name in clip.heatmap_ids for clip in clips]
            groups = [clip.segment.group for clip in clips]
            return partners_of(groups, has_maps, seed=self.options.seed, epoch=self.epoch)

        partner = int(self._partners.get((name, self.epoch), draw)[place])
        counts[f"{WITHOUT_PARTNER}{name}"] = int(partner < 0 and name in clips[place].heatmap_ids)
        if partner < 0:
            return self._no_maps(name, self.data.frames_per_clip)
        other = clips[partner]
        seen = self.observer.observe(other, self._facts_of(other), epoch=self.epoch)
        return self._maps_of(other, name, seen)[0]

    def _video(self, path: Path) -> VideoSource:
        # One thread per decoder in a worker: the loader already has one worker per core.
        indexed = partial(open_indexed, cache=self.index_cache, threads=0 if get_worker_info() is None else 1)
        return self._videos.get(path, lambda: (self.reader or indexed)(path))

    def _facts_of(self, clip: Clip) -> VideoFacts:
        """Facts of a clip's video, kept longer than the open file: the maps of a partner need no frames."""
        path = clip.video_path

        def read() -> VideoFacts:
            if self.features is not None and not path.exists():
                kept = KeptVideos(self.features.root).read(clip.segment.video_id)
                if kept is not None:
                    return kept[0]
            video = self._video(path)
            info, status = video.info, path.stat() if self.features is not None else None
            return VideoFacts(
                pts_seconds=video.pts_seconds,
                frame_hw=(info.height, info.width),
                rate=info.rate,
                decoded_by=(status.st_size, status.st_mtime_ns, info.stream_index, info.decoder) if status else (),
            )

        return self._facts.get(path, read)


def _frames(video: VideoSource, indices: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the frames of ascending `indices`, repeats included; each is decoded once."""
    wanted, counts = np.unique(indices, return_counts=True)
    for frame, count in zip(video.frames(wanted), counts.tolist(), strict=True):
        yield from repeat(frame.rgb, count)
