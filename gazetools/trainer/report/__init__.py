"""Reports of finished runs: statistics over saved predictions, tables and pictures."""
