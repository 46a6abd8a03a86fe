"""Annotations of Ego4D, Ego-Exo4D and EPIC-KITCHENS as they are downloaded."""
