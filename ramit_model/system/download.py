"""Download a file by HTTP, going on where an interrupted download ended."""

import http
import http.client
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

CHUNK = 1 << 16
TIMEOUT = 30.0
"""Seconds without a byte after which a connection is given up."""
WAITS = (1.0, 2.0, 4.0)
"""Seconds before each further attempt; an attempt that brought something starts the row again."""
TRANSIENT = (408, 425, 429)
"""Statuses below 500 after which another attempt may succeed."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and their number in the end, if the server says it."""


class DownloadError(Exception):
    """Reason why a file cannot be downloaded, in a few words."""


class _BrokenOffError(Exception):
    """The connection broke, or the server is busy: worth another attempt."""


def download(url: str, part: Path, *, max_bytes: int, progress: Progress | None = None) -> None:
    """Download into `part`, after what it holds already if the server can go on there.

    What has come stays in `part` if the download fails.

    Args:
        url: Address, http or https.
        part: File for the content; its folder must exist.
        max_bytes: Largest size that is accepted.
        progress: See `Progress`.

    Raises:
        DownloadError: The server cannot be reached, does not have the file, breaks off again and again, or sends more
            than `max_bytes`.
        OSError: `part` cannot be written.
    """
    if not url.startswith(("http://", "https://")):
        raise DownloadError("not an http address")
    waits = iter(WAITS)
    while True:
        before = _size(part)
        try:
            _attempt(url, part, max_bytes, progress)
            return
        except _BrokenOffError as error:
            if _size(part) > before:
                waits = iter(WAITS)
            wait = next(waits, None)
            if wait is None:
                raise DownloadError(str(error)) from None
            time.sleep(wait)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _attempt(url: str, part: Path, max_bytes: int, progress: Progress | None) -> None:
    start = _size(part)
    headers = {"User-Agent": "ramit-basicsr", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  the scheme is checked
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            if start and not (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
                start = 0
                if response.status == http.HTTPStatus.PARTIAL_CONTENT:
                    part.unlink()
                    raise _BrokenOffError("the server sends another part of the file than it was asked for")
            length = response.headers.get("Content-Length") or ""
            total = start + int(length) if length.isdecimal() else None
            if (total or 0) > max_bytes:
                raise DownloadError(f"the server sends {total} bytes, more than such a file has")
            done = _copy(response, part, start, total, max_bytes, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # all there is, or something else
            part.unlink()
            raise _BrokenOffError("the server does not go on where the last download ended") from None
        reason = f"the server answers {error.code} {error.reason}".rstrip()
        if error.code >= 500 or error.code in TRANSIENT:
            raise _BrokenOffError(reason) from None
        raise DownloadError(reason) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError | ConnectionResetError):
            raise _BrokenOffError(f"no connection ({error.reason})") from None
        why = "the name of the server is unknown" if isinstance(error.reason, socket.gaierror) else error.reason
        raise DownloadError(f"no connection ({why})") from None
    except ssl.SSLError as error:
        raise DownloadError(f"no secure connection ({error.reason or error})") from None
    except ValueError as error:
        raise DownloadError(f"not an address ({error})") from None
    if total is not None and done < total:
        raise _BrokenOffError(f"the server broke off after {done} of {total} bytes")


def _copy(
    response: http.client.HTTPResponse,
    part: Path,
    start: int,
    total: int | None,
    max_bytes: int,
    progress: Progress | None,
) -> int:
    """Append the answer to the first `start` bytes of `part`; returns the bytes that are there then."""
    done = start
    with part.open("ab") as file:
        file.truncate(start)
        while True:
            if progress:
                progress(done, total)
            try:
                chunk = response.read(CHUNK)
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                raise _BrokenOffError(f"the connection broke after {done} bytes ({type(error).__name__})") from None
            if not chunk:
                return done
            done += len(chunk)
            if done > max_bytes:
                raise DownloadError(f"the server sends more than {max_bytes} bytes, more than such a file has")
            file.write(chunk)
