"""Restoring many files: which, into which, and reading, network and writing at the same time."""
