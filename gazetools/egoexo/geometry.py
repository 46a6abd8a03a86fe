"""Rigid transforms, gaze rays and the KannalaBrandtK3 fisheye camera of Ego-Exo4D, in float64.

Formulas: docs.ego-exo4d-data.org and projectaria-tools' camera model (the same as OpenCV's `cv2.fisheye`). Camera axes
are x right, y down, z forward; the central pupil frame (CPF) has x left, y up, z forward, as the wearer sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import UsageError

Floats = npt.NDArray[np.float64]

# Pose of the CPF in the device frame (left SLAM camera) by design, for the small frame ("DVT-S") of Aria glasses: the
# inverse of the CAD transform T_cpf_slam-left that projectaria-tools ships. The large frame differs by 2 to 3 mm.
DEVICE_CPF = np.array(
    [
        [-0.03186, -0.99863, -0.041521, 0.004953],
        [0.793353, 0.0, -0.608761, -0.049148],
        [0.607927, -0.052336, 0.792266, -0.049185],
    ]
)
_ASPECT_TOLERANCE = 0.02
"""Down-scaled videos round their longer side to an even number (796x448 for 3840x2160); more is another picture."""


def rotation_from_quaternion(quaternion_xyzw: npt.ArrayLike) -> Floats:
    """Rotation matrices [..., 3, 3] of Hamilton quaternions [..., 4] (x, y, z, w); UsageError for length 0 or NaN."""
    q = np.asarray(quaternion_xyzw, np.float64)
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    if not (norm > 1e-9).all():
        raise UsageError("A quaternion has length 0 or is not a number; it can't be a rotation.")
    x, y, z, w = np.moveaxis(q / norm, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Poses T_world_x of a frame x at N instants: p_world = rotation @ p_x + translation."""

    rotation: Floats
    """[N, 3, 3]"""
    translation: Floats
    """[N, 3] metres; NaN where the pose is unknown."""

    def __len__(self) -> int:
        return len(self.translation)

    def __getitem__(self, part: slice | npt.NDArray[np.int64]) -> Poses:
        return Poses(rotation=self.rotation[part], translation=self.translation[part])

    def apply(self, points: Floats) -> Floats:
        """World points [N, K, 3] of points [K, 3] that are fixed in the frame x."""
        return np.einsum("nij,kj->nki", self.rotation, points) + self.translation[:, None, :]

    def compose(self, matrix_3x4: Floats) -> Poses:
        """T_world_y for T_x_y = `matrix_3x4`."""
        translation = self.rotation @ matrix_3x4[:, 3] + self.translation
        return Poses(rotation=self.rotation @ matrix_3x4[:, :3], translation=translation)


def gaze_direction(yaw: npt.ArrayLike, pitch: npt.ArrayLike) -> Floats:
    """Unit vectors [..., 3] in the CPF: normalise(tan yaw, tan pitch, 1), not the spherical form (MPS eye gaze)."""
    x, y = np.broadcast_arrays(np.tan(np.asarray(yaw, np.float64)), np.tan(np.asarray(pitch, np.float64)))
    direction = np.stack([x, y, np.ones_like(x)], axis=-1)
    return direction / np.linalg.norm(direction, axis=-1, keepdims=True)


@dataclass(frozen=True, kw_only=True)
class Fisheye:
    """A KannalaBrandtK3 camera: rd = th (1 + k1 th^2 + k2 th^4 + k3 th^6 + k4 th^8), u = fx rd x/r + cx."""

    fx: float
    fy: float
    cx: float
    cy: float
    k: tuple[float, float, float, float]
    width: int
    height: int
    """Size of the picture in pixels."""

    def scaled(self, *, width: int, height: int, name: str = "camera") -> Fisheye:
        """The camera at another size: per axis f' = s f, c' = s (c + 0.5) - 0.5; UsageError: not a scaled one."""
        sx, sy = width / self.width, height / self.height
        if (width > height) != (self.width > self.height) and self.width != self.height:
            raise UsageError(
                f"{name}: the video is {width}x{height} but its calibration is of {self.width}x{self.height}: one is "
                "portrait, the other landscape, and how it was turned is not recorded.",
                hint="Leave this camera out, or use the video in the orientation of the calibration.",
            )
        if abs(sx / sy - 1) > _ASPECT_TOLERANCE:
            raise UsageError(
                f"{name}: the video is {width}x{height}, which is no scaled {self.width}x{self.height} picture "
                f"(aspect ratios differ by {abs(sx / sy - 1):.1%}).",
                hint="Use a video that shows the whole calibrated picture, neither cropped nor padded.",
            )
        cx, cy = sx * (self.cx + 0.5) - 0.5, sy * (self.cy + 0.5) - 0.5
        return replace(self, fx=self.fx * sx, fy=self.fy * sy, cx=cx, cy=cy, width=width, height=height)

    @cached_property
    def max_angle(self) -> float:
        """Radians from the optical axis up to which rd grows; beyond it, two rays would share one pixel."""
        k1, k2, k3, k4 = self.k
        # d rd / d th = 1 + 3 k1 s + 5 k2 s^2 + 7 k3 s^3 + 9 k4 s^4 with s = th^2
        roots = np.roots([9 * k4, 7 * k3, 5 * k2, 3 * k1, 1.0])
        real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
        return float(np.sqrt(real.min())) if real.size else float(np.pi)

    def project(self, points_camera: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Pixels [..., 2] (u, v) of points [..., 3] in metres, and whether they can be seen at all [...].

        True: z > 0 and the angle is within `max_angle`; the pixel may still lie outside the picture. Others are NaN.
        """
        p = np.asarray(points_camera, np.float64)
        x, y, z = np.moveaxis(p, -1, 0)
        r = np.hypot(x, y)
        angle = np.arctan2(r, z)
        in_front = (z > 0) & (angle <= self.max_angle)
        s = angle * angle
        k1, k2, k3, k4 = self.k
        distorted = angle * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4))))
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(r < 1e-9, 1 / z, distorted / r)
            uv = np.stack([self.fx * scale * x + self.cx, self.fy * scale * y + self.cy], axis=-1)
        uv[~in_front] = np.nan
        return uv, in_front

    def contains(self, uv: Floats) -> npt.NDArray[np.bool_]:
        """Whether pixels [..., 2] lie in the picture, 0 <= u < width and 0 <= v < height; NaN does not."""
        u, v = uv[..., 0], uv[..., 1]
        return (u >= 0) & (u < self.width) & (v >= 0) & (v < self.height)

    def unproject(self, uv: npt.ArrayLike) -> Floats:
        """Unit rays [..., 3] of pixels [..., 2]: the inverse of `project`, by Newton steps on the angle."""
        p = np.asarray(uv, np.float64)
        mx, my = (p[..., 0] - self.cx) / self.fx, (p[..., 1] - self.cy) / self.fy
        distorted = np.hypot(mx, my)
        angle = np.minimum(distorted, self.max_angle)
        k1, k2, k3, k4 = self.k
        for _ in range(12):
            s = angle * angle
            value = angle * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4)))) - distorted
            slope = 1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4)))
            angle = np.clip(angle - value / np.where(np.abs(slope) < 1e-9, 1e-9, slope), 0, self.max_angle)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(distorted < 1e-12, 1.0, np.sin(angle) / distorted)
        return np.stack([mx * scale, my * scale, np.cos(angle)], axis=-1)


@dataclass(frozen=True, kw_only=True)
class StaticCamera:
    """An exo camera: where it stands in the world, and its lens."""

    name: str
    graph_uid: str
    """Names the world coordinates; only poses of the same graph may be mixed with it."""
    rotation: Floats
    """[3, 3] of T_world_camera."""
    translation: Floats
    """[3] metres."""
    lens: Fisheye

    def turned(self, degrees: int) -> StaticCamera:
        """The camera of the picture turned counter-clockwise by 0, 90, 180 or 270 degrees, as a video's flag asks for.

        By 90 degrees the pixel (u, v) comes to (v, width - 1 - u), and the camera's axes turn with the picture.
        """
        if degrees == 0:
            return self
        old, axes = self.lens, np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        lens = replace(
            old,
            fx=old.fy,
            fy=old.fx,
            cx=old.cy,
            cy=old.width - 1 - old.cx,
            width=old.height,
            height=old.width,
        )
        return replace(self, rotation=self.rotation @ axes, lens=lens).turned(degrees - 90)

    def to_camera(self, points_world: Floats) -> Floats:
        """Points [..., 3] in the camera's axes: R^T (P - t)."""
        return (points_world - self.translation) @ self.rotation

    def project(self, points_world: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """As `Fisheye.project`, from world points."""
        return self.lens.project(self.to_camera(points_world))
