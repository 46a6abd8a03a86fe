"""A numbered video with its heatmaps, and a client of a server that shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gazetools.schemas.view import ViewOptions
from gazetools.viewer.guard import cookie_of
from gazetools.viewer.server import build_app
from gazetools.viewer.showing import Showing
from tests.helpers.viewing import store_numbered, write_numbered_video

PORT, TOKEN, FRAMES = 8000, "a-token-of-the-tests", 40


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `videos/clip.mp4` (40 frames, 96x64) and its `store`; not to be changed."""
    root = tmp_path_factory.mktemp("numbered")
    video = write_numbered_video(root / "videos" / "clip.mp4", frames=FRAMES, size_wh=(96, 64))
    store_numbered(root / "store", video, frames=FRAMES)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of videos are kept below the test's own folder."""
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def client_of() -> Iterator[Callable[..., TestClient]]:
    """`client_of(path, **options)`: a client with the cookie, whose requests have origin and token."""
    with ExitStack() as stack:

        def make(path: Path, **options: Any) -> TestClient:
            showing = stack.enter_context(Showing(path, ViewOptions(**options)))
            client = TestClient(build_app(showing, token=TOKEN, port=PORT), base_url=f"http://127.0.0.1:{PORT}")
            client.cookies.set(*cookie_of(TOKEN, PORT))
            client.headers.update({"origin": f"http://127.0.0.1:{PORT}", "x-gazetools-token": TOKEN})
            client.showing = showing  # type: ignore[attr-defined]
            return client

        yield make
