"""The evaluation transform against recorded numbers of V-JEPA 2's own code."""

from __future__ import annotations

import numpy as np
import pytest

from gazetools.trainer.data.geometry import evaluation_view
from gazetools.trainer.data.transforms import resize_whole, transform_frames
from tests.parity.conftest import Golden

pytestmark = pytest.mark.golden("video_transforms")

OUTPUT_ATOL = 1e-6


def test_resized_frames_are_equal_and_outputs_within_rounding(golden: Golden) -> None:
    assert golden.spec["cases"]
    for case in golden.spec["cases"]:
        clip, resized, output = (golden.tensors[case[name]].numpy() for name in ("clip", "resized", "output"))
        side = case["crop_size"]
        view = evaluation_view((clip.shape[1], clip.shape[2]), side)
        assert list(view.resized_hw) == case["resized_hw"] and min(view.resized_hw) == case["short_side"]
        ours = np.stack([resize_whole(frame, view.resized_hw) for frame in clip])
        np.testing.assert_array_equal(ours, resized, err_msg=case["clip"])
        transformed = transform_frames(clip, view, side).numpy()
        np.testing.assert_allclose(transformed, output, atol=OUTPUT_ATOL, rtol=0, err_msg=case["clip"])
