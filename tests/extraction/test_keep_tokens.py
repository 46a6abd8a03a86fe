"""`--keep tokens`: the heatmap is made of exactly these tokens, over the whole frame, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import gazetools
from gazetools.extraction import work
from gazetools.extraction.disk_estimate import MARGIN_BYTES, estimate_space
from gazetools.extraction.model.batches import BatchRunner
from gazetools.extraction.model.crops import cell_weights
from gazetools.gazemodels import GazeOutput
from gazetools.gazemodels.gazelle.loading import load_model
from gazetools.gazemodels.gazelle.preprocess import resize_antialiased
from gazetools.gazemodels.gazelle.prompts import box_cells
from gazetools.progress import NoProgress
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.store import Prompt
from gazetools.store import open_store
from gazetools.store.pieces import PieceFolder
from tests.extraction.test_crops import LARGE, SMALL, _prompts
from tests.extraction.test_space_of_run import _planned
from tests.helpers.equal_stores import assert_stores_equal

GRID = 4  # of the tiny model


@pytest.fixture(scope="module")
def store(clip: Path, boxes: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens at the model's own grid."""
    return _extract(clip, tmp_path_factory.mktemp("tokens"), boxes, tiny_model, token_grid=GRID)


def _extract(clip: Path, root: Path, boxes: Path, model: Path, **more: Any) -> Path:
    more = {"keep": ["tokens"], "heads": f"file:{boxes}", "model": str(model), "end": 0.5, **more}
    assert gazetools.extract(clip, root, **more).exit_code == 0
    return root / "clip.h5"


def test_kept_tokens_through_the_heatmap_head_give_the_stored_heatmaps(store: Path, tiny_model: Path) -> None:
    decoder = load_model(tiny_model).decoder
    with open_store(store) as reader:
        assert reader.tokens_shape == (GRID, GRID, decoder.head_token.weight.shape[1])
        tokens = torch.from_numpy(reader.read_tokens(0, len(reader)).astype(np.float32))
        stored = reader.read_heatmaps(0, len(reader)).astype(np.float32)
        low = decoder.heatmap_head(tokens.flatten(1, 2), (GRID, GRID))
        again = resize_antialiased(low.unsqueeze(1), (64, 64)).squeeze(1).numpy()
        np.testing.assert_allclose(again, stored, atol=2e-3)
        assert stored.std() > 10 * 2e-3, "the tolerance is small against what the maps show"
        assert np.abs(again[::-1] - stored).max() > 2e-3, "rows are not in another order"


def test_the_model_gives_tokens_to_those_who_ask_alone(tiny_model: Path) -> None:
    model, frame = load_model(tiny_model), np.zeros((1, 30, 40, 3), np.uint8)
    assert model(frame, [[None]]).tokens is None, "a caller who keeps outputs does not keep a megabyte a person"
    for people in ([None, None], []):
        asked = model(frame, [people], tokens=True).tokens
        assert asked is not None and asked.shape == (len(people), GRID, GRID, model.token_channels)


def test_coarser_tokens_are_means_of_finer_ones(
    store: Path, clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path
) -> None:
    coarse = _extract(clip, tmp_path, boxes, tiny_model, token_grid=2)
    with open_store(store) as fine, open_store(coarse) as half:
        blocks = fine.read_tokens(0, len(fine)).astype(np.float32).reshape(len(fine), 2, 2, 2, 2, -1)
        np.testing.assert_allclose(half.read_tokens(0, len(half)), blocks.mean(axis=(2, 4)), rtol=2e-3, atol=4e-3)


def test_all_else_is_as_without_tokens(store: Path, clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path) -> None:
    plain = _extract(clip, tmp_path, boxes, tiny_model, keep=[])
    with h5py.File(plain) as file, open_store(plain) as without, open_store(store) as kept:
        assert "extra" not in file
        assert without.tokens_shape is None
        assert without.provenance.options == {
            key: value for key, value in kept.provenance.options.items() if key not in ("keep", "token_grid")
        }
        assert kept.provenance.options["token_grid"] == GRID
        np.testing.assert_array_equal(without.read_heatmaps(0, len(without)), kept.read_heatmaps(0, len(kept)))
        with pytest.raises(DataFileError, match=r"keeps no scene tokens.*--keep tokens"):
            without.read_tokens(0, 1)
    assert without.sidecar is not None and kept.sidecar is not None
    assert without.sidecar.options_key != kept.sidecar.options_key
    with pytest.raises(AssertionError):
        _extract(clip, tmp_path, boxes, tiny_model, token_grid=GRID)  # not without --overwrite


def test_a_run_that_ended_in_the_middle_goes_on_to_an_equal_store(
    clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "PIECE_FRAMES", 4)
    more: dict[str, Any] = {"token_grid": 3, "end": 0.6, "device": "cpu"}
    clean = _extract(clip, tmp_path / "clean", boxes, tiny_model, **more)
    saved: list[int] = []
    save = PieceFolder.save

    class Killed(BaseException):
        pass

    def die_after_two(pieces: PieceFolder, number: int, piece: Any) -> None:
        if len(saved) == 2:
            raise Killed
        saved.append(number)
        save(pieces, number, piece)

    with monkeypatch.context() as patch:
        patch.setattr(PieceFolder, "save", die_after_two)
        with pytest.raises(Killed):
            _extract(clip, tmp_path / "killed", boxes, tiny_model, **more)
    resumed = _extract(clip, tmp_path / "killed", boxes, tiny_model, **more)
    assert_stores_equal(resumed, clean)
    with open_store(resumed) as left, open_store(clean) as right:
        assert len(left) > 0
        np.testing.assert_array_equal(left.read_tokens(0, len(left)), right.read_tokens(0, len(right)))


REFUSED = [
    ({"model": "centre-prior"}, "centre-prior .* gives no scene tokens", "a model without that ability"),
    ({"token_grid": 5}, "finer than the grid of .*4 x 4", "averaging adds no detail"),
    ({"keep": [], "token_grid": 4}, "token_grid", "a grid of nothing"),
    ({"keep": ["features"]}, "keep", "an unknown word"),
]


@pytest.mark.parametrize(("changes", "words", "why"), REFUSED, ids=[why for *_, why in REFUSED])
def test_what_cannot_be_kept_is_told(
    clip: Path, tiny_model: Path, tmp_path: Path, changes: dict[str, Any], words: str, why: str
) -> None:
    settings = {"model": str(tiny_model), "keep": ["tokens"], "token_grid": 4, **changes}
    if settings["model"] == "centre-prior":
        settings["token_grid"] = None
    with pytest.raises(UsageError, match=words) as caught:
        gazetools.extract(clip, tmp_path / "s", **settings)
    assert caught.value.exit_code == 2
    assert not list(tmp_path.glob("s/*.h5"))


def test_the_room_for_tokens_is_counted(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ExtractOptions(model=str(tiny_model), keep=["tokens"], token_grid=4)
    estimate = estimate_space(_planned(clip.parent, tmp_path / "s", options), NoProgress())
    assert estimate is not None
    gazetools.extract(clip, tmp_path / "s", options=options)
    written = (tmp_path / "s" / "clip.h5").stat().st_size
    assert 0.9 * written <= estimate.needed_bytes - MARGIN_BYTES <= 1.1 * written + (48 << 10)


WEIGHTS = [
    ((0.0, 0.0, 1.0, 1.0), np.kron(np.eye(2), [0.5, 0.5]), "the whole frame: means of two"),
    ((0.0, 0.5, 1.0, 1.0), [[0, 0, 0, 0], [0.25] * 4], "a crop of the lower half: all of its rows in the lower cell"),
    ((0.0, 0.25, 1.0, 0.75), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], "across both: of each cell what is seen of it"),
]


@pytest.mark.parametrize(("crop", "rows", "why"), WEIGHTS, ids=[why for *_, why in WEIGHTS])
def test_cells_of_a_crop_go_to_their_place_in_the_frame(crop: Any, rows: Any, why: str) -> None:
    np.testing.assert_allclose(cell_weights((4, 4), crop, 2)[0], rows, atol=1e-6, err_msg=why)


class _Showing:
    """A model whose token of each cell is the brightness that it is shown there."""

    name, dtype, device, implementation = "showing", torch.float32, torch.device("cpu"), "test"
    out_size, grid, has_inout, token_channels = (64, 64), (32, 32), True, 1

    def preprocess(self, images: Any) -> torch.Tensor:
        levels = torch.from_numpy(np.asarray(images)).float().mean(dim=3, keepdim=True).permute(0, 3, 1, 2) / 255
        return torch.nn.functional.interpolate(levels, size=(64, 64), mode="area")

    def __call__(self, images: Any, boxes: Any, *, tokens: bool) -> GazeOutput:
        assert tokens
        inputs = images if isinstance(images, torch.Tensor) else self.preprocess(images)
        index = [i for i, people in enumerate(boxes) for _ in people]
        assert not [None for people in boxes for box in people if box_cells(box, self.grid) is None]
        cells = torch.nn.functional.avg_pool2d(inputs, 2)[index].permute(0, 2, 3, 1)
        return GazeOutput(inputs[index, 0], torch.zeros(len(index)), torch.tensor(index), cells)


def test_tokens_of_a_crop_lie_where_their_heatmap_lies_and_rows_keep_their_order() -> None:
    frame = np.full((1080, 1920, 3), 40, np.uint8)
    frame[540:, 960:] = 200  # the quarter in which the small head is
    prompts = _prompts([SMALL, LARGE, SMALL], (0, 2))
    result = BatchRunner(_Showing(), 4, token_grid=8).begin([frame], [prompts]).result()  # type: ignore[arg-type]
    assert result.tokens is not None and result.tokens.shape == (3, 8, 8, 1)
    cropped, whole, again = result.tokens[..., 0].astype(float)
    wanted = np.full((8, 8), 40 / 255)
    wanted[4:, 4:] = 200 / 255
    np.testing.assert_allclose(whole, wanted, atol=0.01)
    seen = cropped != 0
    assert 0 < seen.sum() < 64 and seen[4:, 4:].any(), "some cells, about the head"
    np.testing.assert_allclose(cropped[seen], wanted[seen], atol=0.12)
    np.testing.assert_array_equal(cropped, again)
    assert (result.heatmap[0].reshape(8, 8, 8, 8).sum(axis=(1, 3)) > 0)[seen].all()


def test_cropped_rows_are_extracted_too(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "small.csv"
    boxes.write_text("frame,track_id,xmin,ymin,xmax,ymax\n0,1,40,20,43,23\n0,2,0,0,60,50\n")
    path = _extract(clip, tmp_path / "s", boxes, tiny_model, small_heads="crop", token_grid=4, end=0.1)
    with open_store(path) as store:
        assert store.row_prompt.tolist() == [Prompt.CROPPED, Prompt.GIVEN]
        cropped, whole = store.read_tokens(0, 2).astype(float)
        assert np.isfinite(cropped).all() and cropped.any() and not cropped[3, 3].any() and whole.any(axis=2).all()
