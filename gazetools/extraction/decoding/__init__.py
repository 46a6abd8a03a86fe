"""Decoding in disposable child processes: the side of the parent, the child, and the cost of a video."""
