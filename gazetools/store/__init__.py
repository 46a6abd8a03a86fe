"""The store: one HDF5 file per video with raw heatmaps, and a sidecar that proves it complete."""

from gazetools.store.listing import StoreEntry, is_complete, list_store
from gazetools.store.reader import StoreReader, open_store
from gazetools.store.writer import StoreContent, write_store

__all__ = ["StoreContent", "StoreEntry", "StoreReader", "is_complete", "list_store", "open_store", "write_store"]
