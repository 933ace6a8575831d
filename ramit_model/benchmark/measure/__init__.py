"""Measurements of a benchmark: quality, time, memory, counts."""
