"""Exact video reading: frame i is the i-th decoded frame, with its true time, upright and in the right colours."""

from gazetools.video.reader import VideoReader

__all__ = ["VideoReader"]
