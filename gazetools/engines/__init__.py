"""Cluster engines: they start the shards of a run elsewhere; the worker code is that of `gazetools.extraction`."""
