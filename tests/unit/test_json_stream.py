"""JSON and XML read piece by piece give what the whole document gives, wherever the pieces end."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gazetools.io import guarded_xml, json_stream
from gazetools.schemas.errors import DataFileError

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
_DOCUMENTS = st.lists(_VALUES, max_size=4) | st.dictionaries(st.text(max_size=3), _VALUES, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=_DOCUMENTS, chunk=st.integers(1, 9), indent=st.sampled_from([None, 1]), raw=st.booleans())
def test_the_pieces_are_those_of_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: Any, chunk: int, indent: int | None, raw: bool
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    text = json.dumps(document, indent=indent, ensure_ascii=not raw).encode("utf-8", "surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:
        return  # lone surrogates are no UTF-8
    path = tmp_path / "a.json"
    path.write_bytes(text)
    members = document.items() if isinstance(document, dict) else [("", document)]
    wanted = [(key, one) for key, value in members for one in (value if isinstance(value, list) else [value])]
    if "\ufeff" in text[:12].decode(errors="ignore") or b"\0" in text[:chunk]:
        return
    assert [*json_stream.stream_json(path, max_bytes=1 << 20)] == wanted


def test_limits_hold_after_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b'{"a": [' + b"1," * 2_000_000 + b"1]}"))
    with pytest.raises(DataFileError, match="more than 3000000 bytes"):
        list(json_stream.stream_json(path, max_bytes=3_000_000))
    path.write_bytes(gzip.compress(b'["' + b"a" * 4_000_000 + b'"]'))
    with pytest.raises(DataFileError, match="element of more than 1000000 characters"):
        list(json_stream.stream_json(path, max_bytes=1 << 30, max_item=1_000_000))
    path.write_bytes(gzip.compress(b"[1, 2]")[:-9])
    with pytest.raises(DataFileError, match="Cannot read"):
        list(json_stream.stream_json(path, max_bytes=1 << 30))


class _Names:
    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []
        self.texts: dict[str, str] = {}

    def start(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        self.seen.append((*path, *attributes.values()))

    def end(self, path: tuple[str, ...], text: str) -> None:
        self.texts[path[-1]] = text


def test_xml_comes_as_events_with_limits(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<a> <b c="&lt;i&gt;">x &amp; y</b><d/></a>')
    names = _Names()
    guarded_xml.read_xml(path, names, max_bytes=1000)
    assert names.seen == [("a",), ("a", "b", "<i>"), ("a", "d")]
    assert names.texts == {"b": "x & y", "d": "", "a": ""}
    with pytest.raises(DataFileError, match="more than 10 bytes"):
        guarded_xml.read_xml(path, names, max_bytes=10)
    path.write_text("<a>" + "x" * 50_000 + "</a>")
    guarded_xml.read_xml(path, names, max_bytes=1 << 20, max_text=100)
    assert names.texts["a"] == "x" * 100
