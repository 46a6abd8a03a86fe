"""The processes of a run: launch, communication, interruption."""
