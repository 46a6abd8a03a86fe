"""The run folder: checkpoints, records, predictions, weights."""
