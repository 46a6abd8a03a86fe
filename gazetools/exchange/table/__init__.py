"""Gaze as a table: one row per frame and person, and one row per pair of people in a frame."""

from gazetools.exchange.table.run import gaze_table, write_gaze_table

__all__ = ["gaze_table", "write_gaze_table"]
