"""Areas of interest: boxes with names from files of annotation tools and datasets, and heatmap mass in them."""

from gazetools.exchange.areas.read import read_areas

__all__ = ["read_areas"]
