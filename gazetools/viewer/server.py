"""The server on the loopback address: the application, its socket, and how it starts and ends."""

from __future__ import annotations

import errno
import logging
import secrets
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.viewer.guard import Guard
from gazetools.viewer.json_answer import JsonAnswer
from gazetools.viewer.routes import ROUTES
from gazetools.viewer.showing import Showing

_HOST = "127.0.0.1"


def build_app(showing: Showing, *, token: str, port: int) -> ASGIApp:
    """The application for `showing`; requests need `token` and must name the loopback address with `port`."""
    app = Starlette(routes=ROUTES, exception_handlers={GazetoolsError: _explained})
    app.state.showing, app.state.token = showing, token
    return Guard(app, token=token, port=port)


def new_token() -> str:
    """A token that nobody can guess, for one run of the server."""
    return secrets.token_urlsafe(24)


def bound_socket(port: int | None) -> socket.socket:
    """A socket on 127.0.0.1, on a free port for None. Raises UsageError for a port in use or not allowed."""
    # with the protocol named, asyncio switches Nagle's algorithm off, which would delay answers by 40 ms
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((_HOST, port or 0))
        found.listen(64)
    except OSError as error:
        found.close()
        in_use = error.errno == errno.EADDRINUSE
        what = "is in use by another program" if in_use else f"can't be used ({error.strerror})"
        raise UsageError(
            f"The port {port} of {_HOST} {what}.", hint="Give another --port, or none: then a free one is taken."
        ) from None
    return found


def serve(showing: Showing, listening: socket.socket, token: str, *, ready: Callable[[], None]) -> None:
    """Answer requests until Ctrl-C or SIGTERM; `ready` is called once the server answers."""
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        build_app(showing, token=token, port=port), log_level="error", access_log=False, lifespan="off",
        server_header=False, timeout_graceful_shutdown=1, http="h11", ws="none",
    )  # fmt: skip
    try:
        _TellingServer(config, ready).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn has ended in order before it passes the signal on
        return


class _TellingServer(uvicorn.Server):
    """A server that says when it has started."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # requests that are cut off here, such as a slow still, are no errors of anybody
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        await super().shutdown(sockets)


async def _explained(request: Request, error: Exception) -> Response:
    """An error of gazetools as words for the page."""
    assert isinstance(error, GazetoolsError), error
    return JsonAnswer({"error": {"message": error.message, "hint": error.hint}}, 400)
