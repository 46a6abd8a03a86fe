"""Models of the trainer: V-JEPA 2 encoder and predictor, heatmap tokens, anticipation wrapper, attentive probe."""
