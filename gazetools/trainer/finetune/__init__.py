"""Training of gaze models: samples with one head each, the losses and recipes of their authors, a resumable loop."""
