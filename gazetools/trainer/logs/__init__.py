"""Loggers of a run: TensorBoard and Weights & Biases."""
