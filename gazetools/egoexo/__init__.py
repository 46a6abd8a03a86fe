"""Ego-Exo4D as it is downloaded: takes, clocks, cameras, trajectory and eye tracking, and the geometry between them."""

from __future__ import annotations
