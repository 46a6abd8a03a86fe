"""Several processes: what they tell each other, and how they are launched."""
