"""Nothing is reachable without the token, under another host name or out of the folder, and nothing is executed."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gazetools.schemas.errors import UsageError
from gazetools.viewer.guard import cookie_of
from gazetools.viewer.server import bound_socket, build_app
from tests.helpers.command_line import run_cli
from tests.helpers.stores import make_video
from tests.viewer.conftest import PORT, TOKEN

COOKIE = "=".join(cookie_of(TOKEN, PORT))
HOST = f"127.0.0.1:{PORT}"
OWN = {"host": HOST, "cookie": COOKIE, "origin": f"http://{HOST}", "x-gazetools-token": TOKEN}

REQUESTS = [
    # (method, path, changed headers, status, why)
    ("GET", f"/?token={TOKEN}", {"cookie": ""}, 200, "the printed address"),
    ("GET", "/", {}, 200, "the cookie"),
    ("GET", "/", {"host": f"localhost:{PORT}"}, 200, "the other name of this machine"),
    ("GET", "/", {"cookie": ""}, 403, "no token"),
    ("GET", "/?token=guessed", {"cookie": ""}, 403, "another token"),
    ("GET", "/api/videos", {"cookie": ""}, 403, "every address needs it"),
    ("GET", f"/api/videos?token={TOKEN}", {"cookie": ""}, 403, "the token belongs into one address only"),
    ("GET", "/static/page.js", {"cookie": ""}, 403, "scripts too"),
    ("GET", "/", {"cookie": f"gazetools-view-{PORT}=x"}, 403, "another cookie"),
    ("GET", "/", {"cookie": f"gazetools-view-{PORT}={TOKEN}"}, 403, "the token is no cookie"),
    ("GET", "/", {"x-gazetools-token": ""}, 200, "a reload, whose page remembers its token"),
    ("GET", "/static/page.js", {"x-gazetools-token": ""}, 200, "scripts are nobody's data"),
    ("GET", "/api/videos", {"x-gazetools-token": ""}, 403, "the cookie alone shows no data"),
    ("GET", "/api/still?id=clip&frame=0", {"x-gazetools-token": ""}, 403, "no picture either"),
    ("GET", "/api/media?id=clip", {"x-gazetools-token": ""}, 403, "no video either"),
    ("GET", f"/api/media?id=clip&token={TOKEN}", {"x-gazetools-token": ""}, 200, "an element that plays"),
    ("GET", f"/api/media?id=clip&token={TOKEN}", {"cookie": ""}, 403, "it needs both"),
    ("GET", f"/api/still?id=clip&frame=0&token={TOKEN}", {"x-gazetools-token": ""}, 403, "others send the header"),
    ("GET", "/nowhere", {"x-gazetools-token": ""}, 403, "unknown places are no exception"),
    ("GET", f"/?token={TOKEN}", {"host": f"gaze.example:{PORT}"}, 421, "DNS rebinding: a foreign name for 127.0.0.1"),
    ("GET", "/", {"host": "127.0.0.1"}, 421, "the port of another server"),
    ("GET", "/", {"host": ""}, 421, "no host"),
    ("POST", "/api/proxy?id=clip", {}, 200, "the page itself"),
    ("POST", "/api/proxy?id=clip", {"origin": "http://gaze.example"}, 403, "a form of another page"),
    ("POST", "/api/proxy?id=clip", {"origin": f"http://127.0.0.1:{PORT + 1}"}, 403, "a page of another port"),
    ("POST", "/api/proxy?id=clip", {"origin": ""}, 403, "no origin"),
    ("POST", "/api/proxy?id=clip", {"x-gazetools-token": ""}, 403, "the cookie alone does not change anything"),
    ("POST", "/api/proxy?id=clip", {"content-length": str(33 << 20)}, 413, "more than anybody corrects"),
    ("DELETE", "/api/proxy?id=clip", {"content-length": "0"}, 405, "no such act"),
    ("GET", "/static/..%2fguard.py", {}, 404, "out of the folder"),
    ("GET", "/static/page.html.jinja", {}, 404, "a template is no file for browsers"),
    ("GET", "/static/../../../../etc/passwd", {}, 404, "far out of the folder"),
    ("GET", "/api/media?id=../videos/clip", {}, 400, "an id that leaves the root"),
    ("GET", "/api/media?id=/etc/passwd", {}, 400, "an absolute path"),
    ("GET", "/api/video?id=..%2F..%2Fclip", {}, 400, "the same, encoded"),
]  # fmt: skip


@pytest.mark.parametrize("request_row", REQUESTS, ids=[row[4] for row in REQUESTS])
def test_who_may_ask_what(numbered: Path, client_of: Callable[..., TestClient], request_row: tuple[Any, ...]) -> None:
    method, path, changed, status, _ = request_row
    showing = client_of(numbered / "store", videos=numbered / "videos").showing  # type: ignore[attr-defined]
    client = TestClient(build_app(showing, token=TOKEN, port=PORT), base_url=f"http://{HOST}")
    headers = {name: value for name, value in {**OWN, **changed}.items() if value or name == "host"}
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == status, answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    expected = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer"}
    assert {name: answer.headers[name] for name in expected} == expected
    assert ("set-cookie" in answer.headers) == path.startswith("/?token=a-token") * (status == 200)
    if "set-cookie" in answer.headers:
        assert {"HttpOnly", "SameSite=Strict"} <= set(re.split("; ?", answer.headers["set-cookie"]))


def test_a_leaked_cookie_does_not_lead_to_the_token(numbered: Path, client_of: Callable[..., TestClient]) -> None:
    client = client_of(numbered / "store")
    del client.headers["x-gazetools-token"]
    assert TOKEN not in client.get("/").text
    assert TOKEN not in client.get("/?token=guessed").text
    opened = client.get("/", params={"token": TOKEN})
    assert f'content="{TOKEN}"' in opened.text
    assert TOKEN not in opened.headers["set-cookie"], "browsers send it to the servers of other users, too"


def test_browsers_leave_out_the_usual_port(numbered: Path, client_of: Callable[..., TestClient]) -> None:
    showing = client_of(numbered / "store", videos=numbered / "videos").showing  # type: ignore[attr-defined]
    client = TestClient(build_app(showing, token=TOKEN, port=80), base_url="http://127.0.0.1")
    own = {"cookie": "=".join(cookie_of(TOKEN, 80)), "x-gazetools-token": TOKEN}
    assert client.get("/", headers=own).status_code == 200
    sent = {**own, "origin": "http://127.0.0.1"}
    assert client.post("/api/proxy?id=clip", headers=sent).status_code == 200
    for foreign in ("gaze.example", "127.0.0.1:8000"):
        assert client.get("/", headers={**own, "host": foreign}).status_code == 421


def test_the_page_has_no_script_of_its_own_and_escapes_names(
    tmp_path: Path, client_of: Callable[..., TestClient]
) -> None:
    hostile = "<script>alert(1)<b>"
    make_video(tmp_path / hostile, hostile)
    client = client_of(tmp_path / hostile)
    page = client.get("/")
    scripts = [f'<script type="module" src="/static/{name}.js">' for name in ("page", "boxes")]
    assert [one.strip() for one in re.findall("<script[^>]*>[^<]*", page.text)] == scripts
    assert "<b>" not in page.text
    assert not re.search(r"\son\w+=|style=|https?://", page.text)
    listed = client.get("/api/videos")
    assert listed.headers["content-type"] == "application/json"
    assert [video["id"] for video in listed.json()["videos"]] == [hostile]
    scripts = re.findall(
        r'"\./(\w+\.js)"', "".join(client.get(f"/static/{name}.js").text for name in ("page", "player"))
    )
    assert {"player.js", "maps.js", "stage.js"} <= set(scripts)
    for name in scripts:
        text = client.get(f"/static/{name}").text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|https?://", text), name


def test_a_port_in_use_is_said_in_words(numbered: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is in use by another program"):
            bound_socket(port)
        result = run_cli("view", str(numbered / "store"), "--port", str(port), "--no-open")
        assert (result.exit_code, "Give another --port" in result.stderr) == (2, True)
    with bound_socket(None) as found:
        assert (found.getsockname()[0], found.proto) == ("127.0.0.1", socket.IPPROTO_TCP)
