"""`view`: open what is shown, serve the page until Ctrl-C; or write one clip as a page to share."""

from __future__ import annotations

import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

from gazetools.progress import NoProgress, Progress
from gazetools.schemas.view import ViewOptions
from gazetools.viewer.clip_page import write_clip_page
from gazetools.viewer.server import bound_socket, new_token, serve
from gazetools.viewer.showing import Showing


def view(path: str | Path, options: ViewOptions, *, started: Callable[[str], None]) -> None:
    """Serve the page of the heatmaps at `path` on 127.0.0.1 until Ctrl-C.

    Args:
        path: store, dataset or folder of heatmaps, or one file of one.
        options: what is shown next to them, and the port.
        started: called with the address, which has the token, once the server answers; the browser opens afterwards.

    Raises UsageError for a port in use and for paths that can't be shown.
    """
    listening = bound_socket(options.port)
    with listening, Showing(Path(path), options) as showing:
        token = new_token()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/?token={token}"

        def ready() -> None:
            started(address)
            if not options.no_open:  # browsers that run in a terminal return only when they end
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        serve(showing, listening, token, ready=ready)


def export_clip(path: str | Path, options: ViewOptions, *, progress: Progress | None = None) -> int:
    """Write `options.export`, one HTML file with a clip of `options.video`; returns its number of frames.

    Raises UsageError for a clip that is too long or has no video, errors of the heatmaps as they are read.
    """
    with Showing(Path(path), options) as showing:
        return write_clip_page(showing, options, progress or NoProgress())
