"""Folders of the real detector and pose classes with tiny random weights, and a detector that sees white squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.heads.detectors import People

_DETR = {
    "encoder_hidden_dim": 32, "encoder_in_channels": [8, 16, 16], "encoder_ffn_dim": 32, "encoder_attention_heads": 2,
    "d_model": 32, "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 32, "num_queries": 12, "decoder_layers": 2,
    "decoder_attention_heads": 2, "num_denoising": 0, "encoder_layers": 1,
    "id2label": {0: "person", 1: "cup"}, "label2id": {"person": 0, "cup": 1},
}  # fmt: skip


def write_person_detector(folder: Path, kind: str = "rt_detr", *, labels: dict[int, str] | None = None) -> Path:
    """A model folder of the type `kind` (rt_detr, rt_detr_v2, d_fine) for pictures of 96x96."""
    import torch
    from transformers import AutoConfig, AutoModelForObjectDetection, HGNetV2Config, RTDetrResNetConfig

    torch.manual_seed(0)
    settings = dict(_DETR)
    if labels is not None:
        settings |= {"id2label": labels, "label2id": {name: label for label, name in labels.items()}}
    if kind == "d_fine":
        settings["decoder_n_points"] = [2, 2, 2]
        backbone = HGNetV2Config(
            stem_channels=[3, 8, 8], stage_in_channels=[8, 8, 16, 16], stage_mid_channels=[8, 8, 8, 8],
            stage_out_channels=[8, 16, 16, 16], stage_num_blocks=[1, 1, 1, 1], stage_numb_of_layers=[1, 1, 1, 1],
            stage_downsample=[False, True, True, True], stage_light_block=[False, False, True, True],
            stage_kernel_size=[3, 3, 3, 3], out_features=["stage2", "stage3", "stage4"],
            embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1],
        )  # fmt: skip
        settings["encoder_in_channels"] = [16, 16, 16]
    else:
        backbone = RTDetrResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        )  # fmt: skip
    config = AutoConfig.for_model(kind, backbone_config=backbone, **settings)
    AutoModelForObjectDetection.from_config(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"size": {"height": 96, "width": 96}, "do_rescale": true, "rescale_factor": 0.00392156862745098,'
        ' "do_normalize": false, "resample": 2}'
    )
    return folder


def write_pose_model(folder: Path, *, keypoints: int = 17, experts: int = 1) -> Path:
    """A ViTPose folder for crops of 64x48 (height x width)."""
    import torch
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    torch.manual_seed(1)
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        mlp_ratio=2, num_experts=experts, part_features=8, out_indices=[1],
    )  # fmt: skip
    config = VitPoseConfig(backbone_config=backbone, num_labels=keypoints, use_simple_decoder=True)
    VitPoseForPoseEstimation(config).save_pretrained(folder)
    return folder


class SquareDetector:
    """Finds white squares of at least 6 pixels: what a detector does, with a truth that a test can compute."""

    device = "cpu"

    def __init__(self, score: float = 0.9) -> None:
        self.weights_sha256 = {"detector": "ab" * 32}
        self.frames_seen = 0
        self.score = score

    def find(self, frames: list[npt.NDArray[np.uint8]], min_score: float) -> list[People]:
        import cv2

        people = []
        for frame in frames:
            self.frames_seen += 1
            white = (frame.min(axis=2) > 200).astype(np.uint8)
            white[:10] = 0  # the band at the top of tests.helpers.clips changes its brightness
            _, _, stats, _ = cv2.connectedComponentsWithStats(white)
            boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, area in stats[1:] if area >= 36], np.float64)
            boxes = boxes.reshape(-1, 4)
            people.append(People(body_xyxy=boxes, score=np.full(len(boxes), self.score), head_xyxy=list(boxes)))
        return people
