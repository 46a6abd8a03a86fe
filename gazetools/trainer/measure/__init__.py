"""Measurements of a run: one split, and everything after an epoch and at the end."""
