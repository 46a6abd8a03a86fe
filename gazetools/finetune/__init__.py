"""Training of gaze decoders: samples drawn on the fly, Gaze-LLE's losses, a resumable loop, scores."""
