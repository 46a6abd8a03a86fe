"""Where training takes heatmaps from: datasets, stores, gaze points."""
