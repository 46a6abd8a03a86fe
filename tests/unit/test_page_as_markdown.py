"""Pages as Markdown: read back by a parser of Markdown, they say what the page says, and nothing in them is a sign."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from markupsafe import escape

from gazetools.html.frame import render
from gazetools.html.markdown import markdown_of

HOSTILE = [
    ("<script>alert(1)</script>", "markup"),
    ("a | b", "a border of a table"),
    ("*x* _y_ `z` ~~w~~ ground_truth", "emphasis"),
    ("[click](http://example.org)", "a link"),
    ("![x](http://example.org/a.png)", "a picture that would be loaded"),
    ("1. first", "a list"),
    ("- first", "a list with signs"),
    ("# big", "a heading"),
    ("&lt;b&gt; &amp;", "what looks like escapes"),
    ("$a_1$ \\ {b}", "a formula"),
    ("> said", "a quotation"),
]


def read_back(text: str) -> str:
    return MarkdownIt("gfm-like", {"linkify": False}).render(text)


class _Cells(HTMLParser):
    """Texts of the elements `kind`, in their order."""

    def __init__(self, text: str, *kinds: str) -> None:
        super().__init__()
        self.kinds, self.found, self._depth = kinds, [], 0  # type: ignore[var-annotated]
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in self.kinds:
            self._depth += 1
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag in self.kinds

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.found[-1] += data


@pytest.mark.parametrize(("text", "why"), HOSTILE, ids=[why for _, why in HOSTILE])
def test_a_text_stays_a_text(text: str, why: str) -> None:
    quoted = escape(text)
    page = (
        f"<main><p>{quoted}</p><details><summary>{quoted}</summary></details>"
        f"<ul><li>{quoted}</li></ul><div class='scroll'><table><thead><tr><th>name</th>"
        f"<th>code</th></tr></thead><tr><td>{quoted}</td><td><code>{quoted}</code></td></tr></table></div></main>"
    )
    back = read_back(markdown_of(page))
    cells = _Cells(back, "p", "summary", "li", "td", "th")
    assert [" ".join(cell.split()) for cell in cells.found] == [text, text, text, "name", "code", text, text]
    assert set(cells.tags) <= {
        "p",
        "ul",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "details",
        "summary",
    }, why


def test_blocks_of_a_page() -> None:
    page = (
        "<head><title>t</title><style>p {}</style></head><header>gazetools</header><main><h1>One</h1>"
        '<p class="banner"><b>Lead.</b> rest <small>small</small></p>'
        '<details><summary>More</summary><div class="scroll"><table><thead><tr>'
        '<th>a</th><th class="left">b</th><th>c</th>'
        "</tr></thead><tr><td>1</td><td>2</td><td>3</td></tr></table></div></details>"
        '<figure data-file="plots/a b.svg"><svg aria-label="what"><text>no</text></svg>'
        '<p class="legend">no</p></figure>'
        '<figure><img alt="only here" src="data:x"><figcaption>its caption</figcaption></figure>'
        "<pre>{\n  ```\n}</pre></main><footer><p>foot</p></footer>"
    )
    assert markdown_of(page) == (
        "# One\n\n> **Lead.** rest small\n\n<details><summary>More</summary>\n\n"
        "| a | b | c |\n| --- | --- | ---: |\n| 1 | 2 | 3 |\n\n</details>\n\n"
        "![what](plots/a%20b.svg)\n\nits caption\n\n````\n{\n  ```\n}\n````\n\nfoot\n"
    )


def test_the_frame_itself_gives_its_footer_only() -> None:
    text = markdown_of(render("html/base.html.jinja", title="t", command="x", version="1"))
    assert text.startswith("Written by `gazetools x`, version ") and "{" not in text
