"""The pixels of labelled pictures: picture files as they are stored, and video frames by their exact index."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np

from gazetools.schemas.errors import VideoError
from gazetools.trainer.finetune.head_sample import Pixels
from gazetools.trainer.finetune.labelled import PicturePlace
from gazetools.video import VideoReader

_OPEN_VIDEOS = 4


class Pictures:
    """Reads pictures and keeps the last few videos open. One of its own for each process."""

    def __init__(self) -> None:
        self._videos: OrderedDict[Path, VideoReader] = OrderedDict()

    def read(self, place: PicturePlace) -> Pixels:
        """uint8 RGB [H, W, 3]. Raises VideoError for a picture that can't be read."""
        if place.frame is None:
            return read_picture_file(place.path)
        reader = self._videos.pop(place.path, None) or VideoReader(place.path, threads=1)
        self._videos[place.path] = reader
        if len(self._videos) > _OPEN_VIDEOS:
            self._videos.popitem(last=False)[1].close()
        if not 0 <= place.frame < reader.frame_count:
            raise VideoError(f"{place.path} has no frame {place.frame}; it has {reader.frame_count}.")
        return np.ascontiguousarray(reader.read([place.frame])[0])

    def close(self) -> None:
        """Close the videos."""
        while self._videos:
            self._videos.popitem()[1].close()


def read_picture_file(path: Path) -> Pixels:
    """uint8 RGB [H, W, 3], not rotated: labels refer to the pixels as stored."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise VideoError(f"The picture {path} is missing or can't be read.", path=str(path))
    return np.ascontiguousarray(np.asarray(picture, np.uint8)[:, :, ::-1])
