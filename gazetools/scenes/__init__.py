"""Synthetic third-person kitchens with known gaze: people look at objects, and their hands then reach for them."""
