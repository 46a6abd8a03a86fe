"""From annotations and videos to batches: labels, clip times, transforms, heatmaps, order."""
