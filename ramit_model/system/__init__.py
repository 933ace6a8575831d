"""Errors, files, memory, processes: what everything else stands on. Standard library only."""
