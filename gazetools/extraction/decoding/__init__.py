"""Decoding in disposable child processes: the parent's side, the child's main, and what a video costs."""
