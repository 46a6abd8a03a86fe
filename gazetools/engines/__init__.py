"""Engines: where the workers of an extraction run. The worker code is that of `gazetools.extraction`."""
