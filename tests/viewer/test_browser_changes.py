"""What changes while somebody looks or corrects, in headless Chromium: the server ends, a file is replaced."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gazetools.heads.corrections import read_corrected
from gazetools.schemas.view import ViewOptions
from gazetools.viewer import export_clip
from tests.helpers.viewing import READ_STAGE, browser_page, running_view, store_numbered, until, write_numbered_video

pytestmark = pytest.mark.slow
OPENED = "document.querySelector('#place').textContent.startsWith('frame ')"
NOTICES = "document.querySelector('#notices').textContent"


@pytest.fixture
def own(numbered: Path, tmp_path: Path) -> Path:
    """A copy of the numbered video and its store."""
    return Path(shutil.copytree(numbered, tmp_path / "own"))


def _correcting(page: Any) -> None:
    until(page, OPENED)
    page.click("#correct")
    until(page, "document.querySelector('#box-words').textContent.includes('No unsaved edits')")
    page.keyboard.press("]")


def test_a_step_that_is_made_while_the_boxes_are_saved_is_kept(own: Path, tmp_path: Path) -> None:
    arguments = (own / "store", "--videos", own / "videos", "--boxes", tmp_path / "boxes")
    with running_view(*arguments, cache=tmp_path) as address, browser_page(address) as page:
        _correcting(page)
        waiting: list[Any] = []

        def keep(route: Any) -> None:
            waiting.append(route)

        page.route("**/api/boxes/save?*", keep)
        page.keyboard.press("d")
        page.keyboard.press("Control+s")
        until(page, "document.querySelector('#save').textContent === 'Saving …'")
        page.keyboard.press("d")
        while not waiting:
            page.wait_for_timeout(20)
        waiting.pop().continue_()
        until(page, "document.querySelector('#box-words').textContent.includes('1 edit not saved')")
        page.unroute("**/api/boxes/save?*")
        page.keyboard.press("Control+s")
        until(page, "document.querySelector('#box-words').textContent.includes('No unsaved edits')")
    moved = read_corrected(tmp_path / "boxes/clip.csv").box_xyxy[0, 0]
    assert moved == pytest.approx(0.1 * 96 + 2), "both steps of a pixel"


def test_what_is_saved_is_not_made_twice_where_its_answer_is_lost(own: Path, tmp_path: Path) -> None:
    arguments = (own / "store", "--videos", own / "videos", "--boxes", tmp_path / "boxes")
    with running_view(*arguments, cache=tmp_path) as address, browser_page(address) as page:
        _correcting(page)
        page.fill("#box-id", "2")
        page.click("#id-on")  # two people change their ids: made twice, they would have the old ones
        page.route("**/api/boxes/rows?*", lambda route: route.fulfill(status=200, body="short"))
        page.click("#save")
        until(page, f'{NOTICES}.includes("Saved, but the boxes can\'t be shown")')
        page.unroute("**/api/boxes/rows?*")
        page.click("#correct")
        until(page, "document.querySelector('#box-words').textContent.includes('No unsaved edits')")
        assert "edits are here again" not in page.evaluate(NOTICES)


def test_a_video_that_is_replaced_is_shown_anew(own: Path, tmp_path: Path) -> None:
    with (
        running_view(own / "store", "--videos", own / "videos", cache=tmp_path) as address,
        browser_page(address) as page,
    ):
        until(page, OPENED)
        page.evaluate(READ_STAGE)
        assert page.evaluate("player.size.width") == 96
        write_numbered_video(own / "videos" / "clip.mp4", frames=60, size_wh=(192, 128), rate=10)
        until(page, f'{NOTICES}.includes("The video\'s file has changed")')
        until(page, "player.frameCount === 60 && player.size.width === 192")
        page.keyboard.press("End")
        until(page, "player.frameIndex === 59 && !player.showing")
        assert page.evaluate("readStage().barcode") == 59
        store_numbered(own / "store", own / "videos" / "clip.mp4", frames=60)
        until(page, f"{NOTICES}.includes('were written again')")
        assert page.evaluate("player.facts.sources[0].frame_count") == 60


def test_maps_that_are_no_numbers_are_counted_once_on_the_page(own: Path, tmp_path: Path) -> None:
    with h5py.File(own / "store" / "clip.h5", "r+") as file:
        file["rows/heatmap"][:5, 0] = np.inf
    with running_view(own / "store", cache=tmp_path) as address, browser_page(address) as page:
        until(page, f"{NOTICES}.includes('5 of the heatmaps read so far have numbers that are not finite')")
    output = tmp_path / "clip.html"
    export_clip(own / "store", ViewOptions(video="clip", export=output, stop=0.2))
    with browser_page(output.as_uri()) as page:
        until(page, "document.querySelector('figcaption')?.textContent.includes('5 heatmaps have numbers that')")
