"""The one statement of the version; pyproject.toml reads it."""

__version__ = "0.2.0"
