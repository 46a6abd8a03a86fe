"""Files: atomic commits, checksums, guarded array and JSON reading."""
