"""The exception for what users give: option files, weights, images. It ends a command with one line and exit code 2."""


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
