"""Data definitions: errors, settings, file formats. Imports nothing else of gazetools."""
