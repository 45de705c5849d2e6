"""A TCP relay that a test can cut or hold: the network between two programs, without emulating one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import cast
from urllib.parse import urlsplit

PIECE_BYTES = 65_536
"""Read from one side and written to the other, so that this much is in flight at most."""


class Cable(ThreadingTCPServer):
    """Relays each connection to `target` (a base URL). Loopback only."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        self.target = (address.hostname or "", address.port or 80)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._answers_pass = threading.Event()
        self._answers_pass.set()
        self._plugged = True
        super().__init__(("127.0.0.1", 0), _Relay)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def cut(self) -> None:
        """End every connection there is. New ones are relayed as before."""
        with self._lock:
            cut, self._open = self._open, set()
        for end in cut:
            with suppress(OSError):  # the peer was faster
                end.shutdown(socket.SHUT_RDWR)

    def unplug(self) -> None:
        """End every connection, new ones too until `plug`: a browser repeats by itself what was only cut."""
        with self._lock:
            self._plugged = False
        self.cut()

    def plug(self) -> None:
        """Relay new connections again."""
        self._plugged = True

    def hold(self) -> None:
        """What the target says waits from now on; what it is told still reaches it."""
        self._answers_pass.clear()

    def release(self) -> None:
        """Deliver what waited."""
        self._answers_pass.set()

    def wait_until_released(self) -> None:
        """Return when answers may pass."""
        self._answers_pass.wait()

    def keep(self, *ends: socket.socket) -> bool:
        """Remember the two ends of a connection for `cut`. False when there is no network for them."""
        with self._lock:
            if self._plugged:
                self._open.update(ends)
            return self._plugged


class _Relay(BaseRequestHandler):
    def handle(self) -> None:
        near = cast("socket.socket", self.request)
        cable = cast("Cable", self.server)
        with socket.create_connection(cable.target) as far:
            if not cable.keep(near, far):
                return
            upstream = threading.Thread(target=_pump, args=(near, far, _at_once), daemon=True)
            upstream.start()
            _pump(far, near, cable.wait_until_released)
            upstream.join()


def _at_once() -> None:
    """Nothing is held."""


def _pump(source: socket.socket, sink: socket.socket, may_pass: Callable[[], object]) -> None:
    """Copy until either side ends, then end both: a half of a connection is of no use to HTTP."""
    with suppress(OSError):  # cut, or reset by a peer: the end that a relay is for
        while piece := source.recv(PIECE_BYTES):
            may_pass()
            sink.sendall(piece)
    may_pass()  # the end of an answer is part of it
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def plugged_in(target: str) -> Iterator[Cable]:
    """A running cable to `target`."""
    with Cable(target) as cable:
        thread = threading.Thread(target=cable.serve_forever, daemon=True)
        thread.start()
        try:
            yield cable
        finally:
            cable.shutdown()
            cable.release()
            cable.cut()
            thread.join()
