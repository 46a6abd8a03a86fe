"""JSON answers, also about files whose names are no text."""

from __future__ import annotations

import json

from starlette.responses import JSONResponse


class JsonAnswer(JSONResponse):
    """As of Starlette, but `?` stands for what UTF-8 can't have: Python's sign for a stray byte in a file's name."""

    def render(self, content: object) -> bytes:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")
