"""A page as PDF, by weasyprint, with the print rules of the one style sheet."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from gazetools.schemas.errors import EnvironmentLacksError


def require_pdf() -> None:
    """Raise EnvironmentLacksError where weasyprint, or a library of the system that it needs, is missing."""
    _weasyprint()


def pdf_of(page: str) -> bytes:
    """The PDF of a page that `render` made. It may show only what is in the page: addresses are not followed.

    Raises EnvironmentLacksError without weasyprint.
    """
    weasyprint = _weasyprint()
    return weasyprint.HTML(string=page, url_fetcher=_fetcher(weasyprint)).write_pdf()


def _fetcher(weasyprint: Any) -> Any:
    """The fetcher of `data:` addresses only."""
    return weasyprint.urls.URLFetcher(allowed_protocols=("data",), allow_redirects=False)


def _weasyprint() -> Any:
    if find_spec("weasyprint") is None:
        raise EnvironmentLacksError(
            "PDF needs weasyprint, which is not installed.", hint="pip install 'gazetools[pdf]'"
        )
    try:
        import weasyprint
        import weasyprint.urls
    except OSError as error:  # pango is no Python package
        raise EnvironmentLacksError(
            f"weasyprint does not find a library of the system: {str(error).splitlines()[0]}.",
            hint="Install Pango: apt-get install libpango-1.0-0 libpangoft2-1.0-0, or brew install pango",
        ) from error
    return weasyprint
