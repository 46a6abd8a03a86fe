"""What every answer of the server must pass: the Host header, the secrets, and the headers that bind the browser.

The address that `view` prints has the token. The first answer to it has the page with the token, and sets a cookie of
another value; the page takes the token out of the address. The cookie alone opens the page without its token, and
scripts: browsers send it to the servers of all ports of this machine, also to those of other users. Whatever shows data
or changes it needs the token as well, in a header, or for elements that play videos in the address.
"""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-gazetools-token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
MOST_POSTED_BYTES = 32 << 20
_LACKS_TOKEN = "This address lacks its token: open the one that `gazetools view` has printed."
_OF_ELEMENTS = {"/api/media", "/api/proxy/file"}
"""What elements of the page load, which can't send headers."""
_USUAL_PORT = 80
"""The port that browsers leave out."""


class Guard:
    """ASGI middleware; `port` is the one of the server, which addresses must name."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app, self._token = app, token
        names = {"127.0.0.1", "localhost", "[::1]"}
        self._hosts = {f"{name}:{port}" for name in names} | (names if port == _USUAL_PORT else set())
        self._origins = {f"http://{host}" for host in self._hosts}
        self._cookie, self._pass = cookie_of(token, port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with a sentence."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        by_address = scope["path"] == "/" and self._is_token(asked)

        refusal = self._refusal(scope["method"], headers, by_address=by_address)
        if refusal is None and not self._may_see(scope["path"], headers, asked):
            refusal = PlainTextResponse(_LACKS_TOKEN, 403)

        async def send_bound(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    found[name] = value
                found.setdefault("cache-control", "no-store")
                if by_address and refusal is None:
                    found.append("set-cookie", f"{self._cookie}={self._pass}; HttpOnly; SameSite=Strict; Path=/")
            await send(message)

        await (refusal or self._app)(scope, receive, send_bound)

    def _refusal(self, method: str, headers: Headers, *, by_address: bool) -> PlainTextResponse | None:
        if headers.get("host", "") not in self._hosts:  # another name for this machine: DNS rebinding
            return PlainTextResponse("This page is served to 127.0.0.1 and localhost only.", 421)
        if not (by_address or _equal(self._cookie_in(headers), self._pass)):
            return PlainTextResponse(_LACKS_TOKEN, 403)
        if method in ("GET", "HEAD"):
            return None
        if headers.get("origin", "") not in self._origins or not self._is_token(headers.get(TOKEN_HEADER, "")):
            return PlainTextResponse("Only the page itself may change something.", 403)
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or not _is_length(length):  # in chunks, the stated length does not count
            return PlainTextResponse(f"At most {MOST_POSTED_BYTES >> 20} MB can be sent, with their length.", 413)
        return None

    def _may_see(self, path: str, headers: Headers, asked: str) -> bool:
        if path == "/" or path.startswith("/static/"):  # nobody's data
            return True
        return self._is_token(headers.get(TOKEN_HEADER, "")) or (path in _OF_ELEMENTS and self._is_token(asked))

    def _cookie_in(self, headers: Headers) -> str:
        pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return next((value for name, _, value in pairs if name == self._cookie), "")

    def _is_token(self, given: str) -> bool:
        return _equal(given, self._token)


def cookie_of(token: str, port: int) -> tuple[str, str]:
    """Name and value of the cookie, from which nobody learns the token."""
    return f"gazetools-view-{port}", hashlib.sha256(f"cookie {token}".encode()).hexdigest()[:32]


def is_asked_with(token: str, given: str | None) -> bool:
    """Whether a request has given the `token`."""
    return _equal(given or "", token)


def _equal(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())


def _is_length(text: str) -> bool:
    return text.isdecimal() and len(text) <= 15 and int(text) <= MOST_POSTED_BYTES
