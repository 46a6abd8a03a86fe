"""Is every heatmap whole, and does it belong to its frame? Findings with stable codes."""

from gazetools.validation.run import validate

__all__ = ["validate"]
