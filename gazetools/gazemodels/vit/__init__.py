"""Vision transformers as one small family: DINOv2, DINOv3, V-JEPA 2 and 2.1, and the decoders of gaze models."""
