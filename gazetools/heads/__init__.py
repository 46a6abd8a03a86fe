"""Head boxes: where the heads of a frame's people are, from files, detectors or recordings."""
