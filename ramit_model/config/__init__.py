"""Option files: reading, checking."""
