"""How `gazelle_tiny` came to be: samples drawn on the fly, Gaze-LLE's losses, a resumable loop."""
