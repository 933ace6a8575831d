"""Published weights by name: found in ./weights and in the cache, else downloaded, from a server in this process."""

import multiprocessing
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from ramit_model.inference import published_files
from ramit_model.inference.published_files import FOLDER, fetch, locate
from ramit_model.inference.published_weights import PublishedWeights, git_blob, published_weights
from ramit_model.system import download
from ramit_model.system.errors import InputError

CONTENT = bytes(range(256)) * 2000
ENTRY = PublishedWeights("RAMiT_X2.pth", "RAMiT", "SR", 2, git_blob(CONTENT), "http://127.0.0.1:1/RAMiT_X2.pth")


class Server(ThreadingHTTPServer):
    """Serves CONTENT in the way that `behavior` says; notes the requests."""

    behavior = "good"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        behavior, wanted = self.server.behavior, self.headers["Range"]
        self.server.requests.append(wanted)
        self.close_connection = True
        if behavior == "redirect" and self.path.startswith("/RAMiT"):
            self.send_response(302)
            self.send_header("Location", f"/elsewhere{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if behavior in ("404", "503") or (behavior == "503 once" and len(self.server.requests) == 1):
            self.send_error(int(behavior[:3]))
            return
        content = b"<!DOCTYPE html><title>Log in</title>" if behavior == "page" else CONTENT
        if behavior == "other":
            content = b"PK" + CONTENT
        start = int(wanted[6:-1]) if wanted and behavior != "no ranges" else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if behavior != "no length":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + 200_000 if behavior == "flaky" else len(content)
        if behavior == "cut short" and not start:
            end = 100_000
        if behavior == "endless":
            end = start
        self.wfile.write(content[start:end])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that the table and the mirror name; an empty folder; a cache of the test's own."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    served = Server()
    threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("RAMIT_WEIGHTS_URL", f"http://127.0.0.1:{served.server_port}/")
    monkeypatch.setattr(published_files, "published_weights", lambda: (ENTRY, *published_weights()[1:]))
    monkeypatch.setattr("ramit_model.inference.published_weights.published_weights", lambda: (ENTRY,))
    monkeypatch.setattr(download, "WAITS", (0.01, 0.01))
    torch.hub.set_dir(tmp_path / "torch/hub")
    yield served
    torch.hub._hub_dir = None
    served.shutdown()
    served.server_close()


def cache(tmp_path: Path) -> Path:
    return tmp_path / "torch/hub/checkpoints"


@pytest.mark.parametrize(
    ("behavior", "requests"),
    [
        ("good", [None]),
        ("redirect", [None, None]),
        ("no length", [None]),
        ("503 once", [None, None]),
        ("flaky", [None, "bytes=200000-", "bytes=400000-"]),
        ("cut short", [None, "bytes=100000-"]),
    ],
)
@pytest.mark.parametrize("name", ["RAMiT_X2", "RAMiT_X2.pth", "ramit_x2"])
def test_a_name_is_downloaded_once(
    server: Server, tmp_path: Path, behavior: str, requests: list[str | None], name: str, capsys
) -> None:
    server.behavior = behavior
    path = locate(name)
    assert path == cache(tmp_path) / "RAMiT_X2.pth"
    assert path.read_bytes() == CONTENT
    assert server.requests == requests
    assert locate(name) == path
    assert server.requests == requests
    assert {file.name for file in path.parent.iterdir()} <= {"RAMiT_X2.pth", ".RAMiT_X2.pth.lock"}
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("behavior", ["good", "no ranges"])
@pytest.mark.parametrize("left", [CONTENT[:1000], CONTENT, CONTENT + b"more", b"something else", b""])
def test_an_interrupted_download_goes_on(server: Server, tmp_path: Path, behavior: str, left: bytes) -> None:
    cache(tmp_path).mkdir(parents=True)
    (cache(tmp_path) / "RAMiT_X2.pth.part").write_bytes(left)
    server.behavior = behavior
    assert locate("RAMiT_X2").read_bytes() == CONTENT
    if left == CONTENT:
        assert server.requests == []
    if left == CONTENT[:1000]:
        assert server.requests == ["bytes=1000-"]
    assert not (cache(tmp_path) / "RAMiT_X2.pth.part").exists()


def test_a_damaged_file_in_the_cache_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    locate("RAMiT_X2").write_bytes(CONTENT[:10])
    assert locate("RAMiT_X2").read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [
        ("404", "the server answers 404 Not Found"),
        ("503", "the server answers 503 Service Unavailable"),
        ("page", r"not the published file \(git blob [0-9a-f]{40}\): it is a web page"),
        ("other", r"not the published file \(git blob [0-9a-f]{40}\): it has 512002 bytes and is truncated or other"),
        ("endless", "the server broke off after 0 of 512000 bytes"),
    ],
)
def test_a_failed_download_is_one_line(server: Server, tmp_path: Path, behavior: str, reason: str) -> None:
    server.behavior = behavior
    with pytest.raises(InputError, match=reason) as caught:
        locate("RAMiT_X2")
    line = str(caught.value)
    assert line.startswith(
        f"RAMiT_X2.pth: cannot be downloaded from http://127.0.0.1:{server.server_port}/RAMiT_X2.pth"
    )
    assert line.endswith(f"; get it another way and put it into {tmp_path / FOLDER} or {cache(tmp_path)}")
    assert "\n" not in line
    assert not (cache(tmp_path) / "RAMiT_X2.pth").exists()


def test_more_than_such_a_file_has_is_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_files, "MAX_BYTES", 1000)
    for server.behavior in ("good", "no length"):
        with pytest.raises(InputError, match="more than such a file has"):
            locate("RAMiT_X2")
    assert not (cache(tmp_path) / "RAMiT_X2.pth").exists()


def test_offline_is_one_line_with_the_address(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAMIT_WEIGHTS_URL")
    with pytest.raises(InputError, match=r"from http://127\.0\.0\.1:1/RAMiT_X2\.pth: no connection .*refused"):
        locate("RAMiT_X2")
    monkeypatch.setenv("RAMIT_WEIGHTS_URL", "file:///etc")
    with pytest.raises(InputError, match=r"from file:///etc/RAMiT_X2\.pth: not an http address"):
        locate("RAMiT_X2")


def test_a_cache_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "torch").write_text("a file, not a folder")
    with pytest.raises(InputError, match=r"RAMiT_X2\.pth: cannot be downloaded from .*Not a directory; get it another"):
        locate("RAMiT_X2")


def test_files_come_first(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FOLDER.mkdir()
    (FOLDER / "RAMiT_X2.pth").write_bytes(b"mine")
    assert locate("RAMiT_X2") == FOLDER / "RAMiT_X2.pth"
    Path("RAMiT_X2").write_bytes(b"mine, too")
    assert locate("RAMiT_X2") == Path("RAMiT_X2")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/RAMiT_X2") == tmp_path / "RAMiT_X2"
    assert server.requests == []


def test_what_is_no_name(server: Server) -> None:
    with pytest.raises(InputError, match=r"^RAMiT_X5: no such file; did you mean RAMiT_X\d\?$"):
        locate("RAMiT_X5")
    with pytest.raises(
        InputError, match=r"^w/ramit_x2\.pth: no such file; .* or write RAMiT_X2 to have it downloaded$"
    ):
        locate("w/ramit_x2.pth")
    with pytest.raises(InputError, match=r"^mine\.pth: no such file; check the path$"):
        locate("mine.pth")
    with pytest.raises(InputError, match=r"^x{300}: no such file; check the path$"):
        locate("x" * 300)
    assert server.requests == []


def test_several_processes_download_once(server: Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=partial(fetch, ENTRY)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert server.requests == [None]
    assert (cache(tmp_path) / "RAMiT_X2.pth").read_bytes() == CONTENT
