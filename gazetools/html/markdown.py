"""A page as Markdown, in the form that GitHub shows: headings, tables, lists, and links to its pictures' files."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import quote

_VOID = {"br", "img", "meta", "wbr"}
_BLOCKS = {"p", "div", "section", "table", "ul", "details", "figure", "pre", "h1", "h2", "h3", "h4", "main", "footer"}
_HEADINGS = {"h1": "#", "h2": "##", "h3": "###", "h4": "####"}
_LEFT_OUT = {"head", "style", "svg", "video", "header"}
_SPECIAL = re.compile(r"([\\`*{}\[\]<>|$~])|(?<!\w)(_)|(_)(?!\w)")


@dataclass
class _Element:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[_Element | str] = field(default_factory=list)

    def all(self, tag: str) -> Iterable[_Element]:
        """Elements of this tag below, in the order of the page."""
        for child in self.children:
            if isinstance(child, _Element):
                if child.tag == tag:
                    yield child
                yield from child.all(tag)


class _Tree(HTMLParser):
    """The elements of a page that `render` made, which closes all that it opens."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.root = _Element("page")
        self._open = [self.root]
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = _Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(_Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        while len(self._open) > 1 and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def markdown_of(page: str) -> str:
    """The same words, figures and tables as a page that `render` made, whose texts stay texts.

    A picture is linked where `data-file` of its `<figure>` or `<img>` names its file, as seen from the Markdown's
    folder; the others, which only the page has, are left out with their captions kept.
    """
    return "\n\n".join(block for block in _blocks(_Tree(page).root) if block) + "\n"


def escaped(text: str) -> str:
    """`text` with nothing in it that Markdown or HTML would take for a sign."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], text.replace("&", "&amp;"))


def _blocks(parent: _Element) -> Iterable[str]:
    """The blocks of an element; texts and inline elements between its blocks are paragraphs."""
    line: list[_Element | str] = []
    for child in parent.children:
        if isinstance(child, str) or not _has_blocks(child):
            line.append(child)
            continue
        yield _paragraph(line)
        line = []
        yield from _block(child)
    yield _paragraph(line)


def _has_blocks(element: _Element) -> bool:
    return element.tag in _BLOCKS or any(
        isinstance(child, _Element) and _has_blocks(child) for child in element.children
    )


def _block(element: _Element) -> Iterable[str]:
    tag, classes = element.tag, element.attributes.get("class", "").split()
    if tag in _LEFT_OUT:
        return
    if tag in _HEADINGS:
        yield f"{_HEADINGS[tag]} {_line(element.children)}"
    elif tag == "table":
        yield _table(element)
    elif tag == "ul":
        yield "\n".join(f"- {_paragraph(item.children)}" for item in element.all("li"))
    elif tag == "pre":
        text = "".join(_texts(element)).strip("\n")
        fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
        yield f"{fence}\n{text}\n{fence}"
    elif tag == "details":
        summary = next(iter(element.all("summary")))
        said = " ".join("".join(_texts(summary)).split())  # up to the next empty line it is HTML, not Markdown
        yield f"<details><summary>{html.escape(said)}</summary>"
        yield from _blocks(_Element("div", {}, [child for child in element.children if child is not summary]))
        yield "</details>"
    elif tag == "figure":
        yield from _figure(element)
    elif "banner" in classes:
        yield "\n>\n".join(f"> {block}" for block in _blocks(element) if block)
    else:
        yield from _blocks(element)


def _figure(figure: _Element) -> Iterable[str]:
    file, shown = figure.attributes.get("data-file", ""), ""
    for chart in figure.all("svg"):
        shown = chart.attributes.get("aria-label", "")
    for picture in figure.all("img"):
        file, shown = picture.attributes.get("data-file", file), picture.attributes.get("alt", "")
    if file:
        yield f"![{escaped(shown)}]({quote(file)})"
    for caption in figure.all("figcaption"):
        yield _paragraph(caption.children)
    yield from (_paragraph(box.children) for box in figure.all("div"))


def _table(table: _Element) -> str:
    rows = [[cell for cell in row.children if isinstance(cell, _Element)] for row in table.all("tr")]
    if not rows:
        return ""
    numbers = ["---" if place == 0 or _is_left(cell) else "---:" for place, cell in enumerate(rows[0])]
    has_head = any(True for _ in table.all("thead"))
    lines = [] if has_head else [[""] * len(rows[0])]
    lines += [[_line(cell.children) for cell in row] for row in rows]
    lines.insert(1, numbers)
    cells = [[re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in row] for row in lines]  # also those in code
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _is_left(cell: _Element) -> bool:
    return "left" in cell.attributes.get("class", "").split()


def _paragraph(children: list[_Element | str]) -> str:
    """A paragraph that does not begin like a list or a heading."""
    return re.sub(r"^(\d+)(?=[.)]\s)", r"\1\\", re.sub(r"^(?=[-+#]\s)", r"\\", _line(children)))


def _line(children: list[_Element | str]) -> str:
    """Texts and inline elements on one line."""
    return re.sub(r"\s+", " ", _words(children)).strip()


def _words(children: list[_Element | str]) -> str:
    return "".join(escaped(child) if isinstance(child, str) else _inline(child) for child in children)


def _inline(element: _Element) -> str:
    if element.tag in _LEFT_OUT:
        return ""
    if element.tag == "br":
        return "<br>"
    if element.tag == "code":
        text = " ".join("".join(_texts(element)).split())
        fence = "`" * max([1, *(len(run) + 1 for run in re.findall("`+", text))])
        return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"
    words = _words(element.children)
    if element.tag == "b" and (inner := " ".join(words.split())):
        return f"**{inner}**"
    return words


def _texts(element: _Element) -> Iterable[str]:
    for child in element.children:
        if isinstance(child, str):
            yield child
        else:
            yield from _texts(child)
