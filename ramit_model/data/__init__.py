"""Data sets: pairs, clean images, their degradation and patches."""
