"""Third-person kitchens with known gaze: people look at objects, and hands reach for what was looked at."""
