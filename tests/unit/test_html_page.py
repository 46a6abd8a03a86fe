"""The frame of the HTML pages: nothing is loaded, texts from outside stay texts, a missing name is an error."""

from __future__ import annotations

import jinja2
import pytest

from gazetools.html.frame import filled, html_page


@pytest.mark.parametrize(("with_video", "media"), [(False, ""), (True, " media-src data:;")])
def test_the_policy_lets_nothing_in_but_what_the_page_holds(with_video: bool, media: str) -> None:
    page = html_page(title="a <b>", style="p { margin:0 }", body="<p>text</p>", with_video=with_video)
    assert f"content=\"default-src 'none'; img-src data:;{media} style-src 'unsafe-inline'\"" in page
    assert "<title>a &lt;b&gt;</title>" in page and "<p>text</p>" in page and "p { margin:0 }" in page


def test_a_template_escapes_its_values_and_lacks_none() -> None:
    assert filled("<p>{{ text }}</p>", text="<script>") == "<p>&lt;script&gt;</p>"
    with pytest.raises(jinja2.UndefinedError, match="other"):
        filled("{{ other }}", text="")
