"""A server that imports torch and BasicSR once, then forks a process for every `basicsr` command of the tests.

Run as a script it is the server; imported, it is the client. Importing takes seconds, a fork takes milliseconds.
"""

import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

MOST_BYTES = 1 << 20
"""Limit of a request: arguments, folder and environment as JSON."""


class ForkServer:
    """Client's end of a server.

    The server starts no thread before it forks: OpenMP's threads would be missing in the forked process.

    Args:
        env: Environment of the server and of every process. Libraries read some of it when they are imported, so
            another environment needs another server.
    """

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()

    def run(self, arguments: Sequence[str], cwd: Path, timeout: float) -> "subprocess.CompletedProcess[str]":
        """Run `basicsr ARGUMENTS` in a process of its own and wait for its end, as `subprocess.run` does.

        Raises:
            subprocess.TimeoutExpired: The process took longer than `timeout` seconds; it is killed.
        """
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            request = json.dumps({"arguments": list(arguments), "cwd": str(cwd)}).encode()
            self._socket.settimeout(timeout)
            socket.send_fds(self._socket, [request], [out.fileno(), err.fileno()])
            process = self._reply()
            try:
                code = self._reply()
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                self._socket.settimeout(None)
                self._reply()
                raise subprocess.TimeoutExpired(list(arguments), timeout) from None
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read())
            return subprocess.CompletedProcess(["basicsr", *arguments], code, *texts)

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._process.wait()

    def _reply(self) -> int:
        message = self._socket.recv(MOST_BYTES)
        if not message:
            raise RuntimeError("the fork server has ended")
        return int(message)


def serve(connection: socket.socket) -> list[str] | None:
    """Fork a process for every request.

    Returns:
        In each forked process, its arguments; in the server None, when the client has closed its end.
    """
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, MOST_BYTES, 2)
        if not request:
            return None
        child = os.fork()
        if child == 0:
            connection.close()
            return _become(json.loads(request), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(str(child).encode())
        connection.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _become(request: dict[str, object], descriptors: list[int]) -> list[str]:
    """Set up the forked process as `python -m ramit_model` would find itself."""
    import numpy as np

    for descriptor, standard in zip(descriptors, (1, 2), strict=True):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    cwd = str(request["cwd"])
    os.chdir(cwd)
    sys.path[0] = cwd
    random.seed()
    np.random.seed()
    arguments = request["arguments"]
    assert isinstance(arguments, list)
    return arguments


def import_everything() -> None:
    """Import what `basicsr train`, `test` and `benchmark` import."""
    import ramit_model
    from ramit_model.system.environment import set_defaults

    set_defaults()  # as the command does before it imports anything large
    ramit_model.register()
    for name in (
        "cli",
        "config.options",
        "training.progress",
        "training.resume",
        "training.sampler",
        "training.terminal",
    ):
        importlib.import_module(f"ramit_model.{name}")
    # PyTorch itself imports its compiler when a network is first built or run.
    for name in ("basicsr.train", "basicsr.test", "torch._dynamo"):
        importlib.import_module(name)


if __name__ == "__main__":
    import_everything()
    gc.freeze()  # a collection in a forked process would copy every page
    arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments is not None:
        sys.argv[1:] = arguments
        runpy.run_module("ramit_model", run_name="__main__", alter_sys=True)
