"""The real detector and pose classes with tiny random weights, from local folders: what goes in, what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gazetools.heads.detectors import BodyHeadDetector, load_detector
from gazetools.heads.persons import PersonDetector
from gazetools.heads.pose import PoseModel, cut_window, peaks, to_frame, window_of
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from gazetools.schemas.heads import DetectOptions
from tests.heads.tiny_detectors import write_person_detector, write_pose_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pose_model(tmp_path_factory.mktemp("pose"))


@pytest.fixture(scope="module")
def rt_detr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_person_detector(tmp_path_factory.mktemp("rt_detr"))


def _frames(count: int = 2, height: int = 60, width: int = 80) -> list[np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("kind", ["rt_detr", "rt_detr_v2", "d_fine"])
def test_person_boxes_are_the_models_own_in_pixels_of_the_frame(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForObjectDetection

    folder = write_person_detector(tmp_path, kind)
    frames = _frames()
    found = PersonDetector(folder, CPU).detect(frames, 0.0)
    # The reference goes its own way: float64 resize by torch, whole outputs, no thresholds.
    images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).double()
    images = torch.nn.functional.interpolate(images, size=(96, 96), mode="bilinear", antialias=True) / 255
    with torch.no_grad():
        out = AutoModelForObjectDetection.from_pretrained(folder).eval()(pixel_values=images.float())
    for i, (boxes, scores) in enumerate(found):
        assert (np.diff(scores) <= 0).all()
        order = np.argsort(-out.logits[i, :, 0].sigmoid().numpy(), kind="stable")
        cx, cy, w, h = out.pred_boxes[i].numpy()[order].T
        wanted = np.stack(((cx - w / 2) * 80, (cy - h / 2) * 60, (cx + w / 2) * 80, (cy + h / 2) * 60), axis=1)
        np.testing.assert_allclose(boxes, wanted, atol=0.02)


def test_the_class_person_is_found_by_its_name(tmp_path: Path) -> None:
    swapped = write_person_detector(tmp_path / "a", labels={0: "cup", 1: "Person"})
    assert PersonDetector(swapped, CPU)._person == 1
    nobody = write_person_detector(tmp_path / "b", labels={0: "cup", 1: "cat"})
    with pytest.raises(CheckpointError, match="no class 'person'"):
        PersonDetector(nobody, CPU)


def test_normalisation_follows_the_folders_file(rt_detr: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(rt_detr, tmp_path / "m")
    settings = folder / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace('"do_normalize": false', '"do_normalize": true'))
    white = [np.full((96, 96, 3), 255, np.uint8)]
    plain = PersonDetector(rt_detr, CPU)._inputs(white)
    scaled = PersonDetector(folder, CPU)._inputs(white)
    torch.testing.assert_close(plain, torch.ones(1, 3, 96, 96))
    torch.testing.assert_close(scaled[0, :, 0, 0], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))


def test_sub_pixel_peaks_of_gaussians_are_exact() -> None:
    y, x = np.mgrid[0:64, 0:48]
    tops = np.array([[10.3, 20.7], [30.0, 5.45], [0.2, 62.9]])
    maps = np.stack([0.8 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 2.0**2)) for cx, cy in tops])
    points, scores = peaks(maps)
    np.testing.assert_allclose(points[:2], tops[:2], atol=1e-6)
    np.testing.assert_allclose(points[2], [0, 63], atol=0.5)  # at the border the pixel itself
    assert (scores > 0.7).all()


def test_windows_keep_the_ratio_and_contain_the_box() -> None:
    for box in ([10, 10, 30, 90], [10, 10, 90, 30], [10.0, 10, 40, 50]):
        x, y, w, h = window_of(np.array(box, np.float64), (256, 192))
        assert w / h == pytest.approx(192 / 256)
        assert x < box[0] and y < box[1] and x + w > box[2] and y + h > box[3]
        assert max((box[2] - box[0]) / w, (box[3] - box[1]) / h) == pytest.approx(1 / 1.25)


def test_what_is_cut_out_is_put_back_where_it_was() -> None:
    """A dot in the frame: cut, found in the crop, mapped back, over many places and boxes."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        box = np.array([*(rng.random(2) * 100), *(150 + rng.random(2) * 150)])
        dot = box[:2] + rng.random(2) * (box[2:] - box[:2])
        y, x = np.mgrid[0:400, 0:400]
        frame = (255 * np.exp(-((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / 50))[..., None].repeat(3, 2).astype(np.uint8)
        window = window_of(box, (256, 192))
        crop = cut_window(frame, window, (256, 192))
        points, _ = peaks(crop[None, :, :, 0].astype(np.float64))
        np.testing.assert_allclose(to_frame(points, window, (256, 192))[0], dot, atol=0.6)


def test_keypoints_come_back_per_frame_and_person(pose: Path) -> None:
    model = PoseModel(pose, CPU)
    assert model.in_hw == (64, 48)
    boxes = [np.array([[5.0, 5, 25, 50], [30, 10, 60, 55]]), np.zeros((0, 4)), np.array([[0.0, 0, 40, 60]])]
    frames = _frames(3)
    result = model.keypoints(frames, boxes)
    assert [points.shape for points, _ in result] == [(2, 17, 2), (0, 17, 2), (1, 17, 2)]
    alone = model.keypoints(frames[2:], boxes[2:])[0]
    np.testing.assert_allclose(result[2][0][0], alone[0][0], atol=1e-3)


def test_a_vitpose_with_experts_uses_the_coco_expert(tmp_path: Path) -> None:
    model = PoseModel(write_pose_model(tmp_path, experts=2), CPU)
    assert model.keypoints(_frames(1), [np.array([[5.0, 5, 25, 50]])])[0][0].shape == (1, 17, 2)


def test_found_people_have_heads_inside_the_frame(rt_detr: Path, pose: Path) -> None:
    detector = BodyHeadDetector(rt_detr, pose, "cpu")
    assert set(detector.weights_sha256) == {"detector", "pose"}
    for people in detector.find(_frames(), 0.0):
        assert len(people.body_xyxy) == len(people.score) == len(people.head_xyxy) == 12
        for head in people.head_xyxy:
            assert head is None or ((head >= 0).all() and (head <= [80, 60, 80, 60]).all())


def test_weights_that_do_not_fit_are_refused(rt_detr: Path, pose: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(rt_detr, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    dropped = next(key for key in tensors if "encoder_input_proj" in key)
    save_file(
        {k: v for k, v in tensors.items() if k != dropped}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(CheckpointError, match="without a value"):
        PersonDetector(folder, CPU)
    (folder / "model.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(CheckpointError, match="can't be loaded"):
        PersonDetector(folder, CPU)
    with pytest.raises(CheckpointError, match="gives 5 keypoints"):
        PoseModel(write_pose_model(tmp_path / "pose", keypoints=5), CPU)


REFUSED = [
    ({"detector": "rtdetrr"}, UsageError, "Unknown detector 'rtdetrr'"),
    ({"detector": "./nowhere/model"}, UsageError, "no such folder"),
    ({"detector": "EMPTY"}, UsageError, "no config.json and no model.safetensors"),
    ({"detector": "POSE"}, UsageError, "model of type 'vitpose'"),
    ({"detector": "nowhere.onnx"}, UsageError, "does not exist"),
    ({}, EnvironmentLacksError, "hf download PekingU/rtdetr_r50vd"),
    ({"detector": "DETR"}, EnvironmentLacksError, "hf download usyd-community/vitpose-base-simple"),
    ({"detector": "yunet"}, EnvironmentLacksError, "curl -L"),
]


@pytest.mark.parametrize(("settings", "kind", "words"), REFUSED, ids=[case[2] for case in REFUSED])
def test_what_is_missing_is_said_with_the_way_to_get_it(
    settings: dict[str, str], kind: type[Exception], words: str, rt_detr: Path, pose: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    places = {"EMPTY": str(tmp_path / "empty"), "POSE": str(pose), "DETR": str(rt_detr)}
    settings = {"detector": "rtdetr"} | settings
    settings["detector"] = places.get(settings["detector"], settings["detector"])
    pose_of = {"pose": str(pose)} if settings["detector"] == str(pose) else {}
    with pytest.raises(kind, match=words):
        load_detector(DetectOptions(**settings, **pose_of), offline=True)
