"""Draw docs/pictures/correcting.jpg: head boxes of a synthetic kitchen that are corrected in `gazetools view`.

PYTHONPATH=. python docs/make_correcting_picture.py    (needs playwright and Chromium)
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from gazetools.extraction.run import extract
from gazetools.scenes.clips import render_scenes
from gazetools.scenes.settings import HEIGHT, WIDTH
from tests.helpers.viewing import browser_page, running_view, until

OUTPUT = Path(__file__).parent / "pictures" / "correcting.jpg"
FRAME = 40


def main() -> None:
    """Extract a scene, put the boxes of some frames right, and photograph the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (video_id,) = render_scenes(folder, clips=1, seconds=3, seed=3)
        path = folder / "heads" / f"{video_id}.csv"
        extract(folder / "videos", folder / "store", model="head-direction", heads=f"file:{path.parent}", device="cpu")
        with running_view(folder / "store", cache=folder) as address, browser_page(address, height=980) as page:
            until(page, "document.querySelector('#place').textContent.startsWith('frame')")
            page.click("#correct")
            until(page, "document.querySelector('#box-words').textContent.includes('edits')")
            page.keyboard.press("]")
            page.keyboard.press("x")
            page.evaluate("async (frame) => (await import('/static/page.js')).player.show(frame)", FRAME)
            page.keyboard.press("f")
            page.evaluate("async (frame) => (await import('/static/page.js')).player.show(frame)", FRAME - 20)
            until(page, f"document.querySelector('#place').textContent.startsWith('frame {FRAME - 20} ')")
            area = page.locator(".layers").first.bounding_box()
            across, down = area["width"] / WIDTH, area["height"] / HEIGHT
            page.mouse.move(area["x"] + 0.75 * WIDTH * across, area["y"] + 0.2 * HEIGHT * down)
            page.mouse.down()
            page.mouse.move(area["x"] + 0.85 * WIDTH * across, area["y"] + 0.42 * HEIGHT * down, steps=4)
            page.mouse.up()
            whole = {"x": 0, "y": 0, "width": 1280, "height": 890}  # without the paths of this machine
            page.screenshot(path=str(OUTPUT), type="jpeg", quality=80, clip=whole)
            page.keyboard.press("u")
            page.keyboard.press("u")


if __name__ == "__main__":
    main()
