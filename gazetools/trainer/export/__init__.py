"""What leaves a run folder: weights as safetensors, predictions in the EPIC-KITCHENS challenge's JSON."""
