"""The whole pipeline, run on synthetic third-person scenes with known gaze."""
