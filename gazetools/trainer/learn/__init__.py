"""The training loop and what it calls: forward pass, losses, learners, schedules, metrics."""
