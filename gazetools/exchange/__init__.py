"""Other tools' formats, in and out."""

from __future__ import annotations
