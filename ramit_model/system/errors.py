"""The exception for what users give. It ends a command with its message and exit code 2."""


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one line: what, where (file and key), what to do."""

    @property
    def line(self) -> str:
        """The message itself, also where a DataLoader worker wrapped its traceback around it."""
        message = str(self).strip()
        if "Traceback (most recent call last)" not in message:
            return message
        last = message.splitlines()[-1]
        return last.removeprefix(f"{type(self).__module__}.{type(self).__name__}: ")


def one_line(error: BaseException) -> str:
    """The first line of what `error` says; its type where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    lines = " ".join(map(str, error.args)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
