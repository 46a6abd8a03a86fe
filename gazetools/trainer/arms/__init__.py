"""Arms: variants of the model, trained side by side on one decoding and one encoder pass per clip."""
