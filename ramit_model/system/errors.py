"""Exception for mistakes in what the user gave; it ends a command with its message and exit code 2."""


class InputError(ValueError):
    """Error in what the user gave. The message is one line: what is wrong, where (file and key), what to do."""

    @property
    def line(self) -> str:
        """Message alone, without the traceback that a DataLoader worker puts around it."""
        message = str(self).strip()
        if "Traceback (most recent call last)" not in message:
            return message
        last = message.splitlines()[-1]
        return last.removeprefix(f"{type(self).__module__}.{type(self).__name__}: ")


class NotEnoughMemoryError(InputError, MemoryError):
    """Error in what the user gave: it needs more memory than there is."""


def one_line(error: BaseException) -> str:
    """Describe any exception in one line: the first of its message, or its type if it has none."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    lines = " ".join(map(str, error.args)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
