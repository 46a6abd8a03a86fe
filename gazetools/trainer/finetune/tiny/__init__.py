"""`gazelle_tiny` from nothing: kitchens drawn on the fly, two phases of learning, scores on held-out kitchens."""
