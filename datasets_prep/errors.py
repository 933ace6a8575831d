"""The exception for source files that cannot be used."""


class SourceError(ValueError):
    """Images or folders that cannot be prepared. Each line of the message names a file, what is wrong, what to do."""
