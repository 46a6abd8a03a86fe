"""semidense_points.csv.gz: the depth at which a gaze ray meets a point that the headset has mapped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gazetools.egoexo.geometry import Floats
from gazetools.io.byte_chunks import read_byte_chunks
from gazetools.schemas.errors import DataFileError

CONE = np.deg2rad(3.0)
"""Largest angle between a gaze ray and its target."""
_VOXEL_M = 0.05
_MAX_INV_DIST_STD = 0.01
_MAX_DIST_STD_M = 0.15
"""projectaria-tools' recommended filter is 0.001 and 0.15; the first is widened, because targets are near."""
_NEAR_M, _FAR_M = 0.2, 6.0
_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class ScenePoints:
    """Points of the world, thinned to one per 5 cm cell."""

    points_world: Floats
    """[P, 3] metres."""

    def depths(self, origins: Floats, directions: Floats) -> Floats:
        """Distance [N] to the point nearest to each ray in angle, NaN where none is within 3 degrees and 0.2 .. 6 m."""
        out = np.full(len(origins), np.nan)
        for start in range(0, len(origins) if len(self.points_world) else 0, _BLOCK):
            part = slice(start, start + _BLOCK)
            to_point = self.points_world[None] - origins[part, None]  # [n, P, 3]
            distance = np.linalg.norm(to_point, axis=2)
            cosine = np.einsum("npk,nk->np", to_point, directions[part]) / np.maximum(distance, 1e-9)
            cosine[(distance < _NEAR_M) | (distance > _FAR_M)] = -1
            best = cosine.argmax(axis=1, keepdims=True)
            hit = np.take_along_axis(cosine, best, axis=1) >= np.cos(CONE)
            out[part] = np.where(hit, np.take_along_axis(distance, best, axis=1), np.nan)[:, 0]
        return out


def read_scene_points(path: Path, *, graph_uid: str) -> ScenePoints:
    """Points of the world `graph_uid` with a well-known distance; DataFileError for a file that can't be read."""
    names = ("px_world", "py_world", "pz_world")
    places, chunks = read_byte_chunks(path, required=("graph_uid", *names), optional=("inv_dist_std", "dist_std"))
    kept: dict[tuple[float, ...], list[float]] = {}
    for chunk in chunks:
        points = np.stack([chunk.floats(places[name], name) for name in names], axis=1)
        good = np.isfinite(points).all(axis=1) & (chunk.text(places["graph_uid"]) == graph_uid.encode())
        for name, limit in (("inv_dist_std", _MAX_INV_DIST_STD), ("dist_std", _MAX_DIST_STD_M)):
            if name in places:
                good &= chunk.floats(places[name], name) <= limit
        points = points[good]
        _, first = np.unique(np.floor(points / _VOXEL_M).astype(np.int64), axis=0, return_index=True)
        for point in points[first].tolist():
            kept.setdefault(tuple(place // _VOXEL_M for place in point), point)
    if not kept:
        raise DataFileError(
            f"{path} has no usable point of the world {graph_uid}.",
            hint="Use another --unknown-depth, such as epipolar.",
            path=str(path),
        )
    return ScenePoints(points_world=np.array(list(kept.values())))
