"""Exports of a run: weights as safetensors, predictions as the JSON of the EPIC-KITCHENS challenge."""
