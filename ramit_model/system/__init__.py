"""Errors, files, memory, processes: the base of everything else. Standard library only."""
