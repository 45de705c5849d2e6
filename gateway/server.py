"""The process's front: its own listening socket, its own signals, and an orderly end.

Hypercorn does the HTTP. The socket is made here because the options that bound what a slow reader costs have to be
on it (style notes 7.3); the signals are handled here because a drain has to begin while the listener still answers
(7.4).
"""

from __future__ import annotations

import errno
import gc
import logging
import resource
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Protocol, TypeVar

import anyio
import structlog
from starlette.types import ASGIApp

from gateway import http1
from gateway.acceptor import Acceptor
from gateway.connection import InviteBody, OfferPush
from gateway.middleware.cors import cors_origin
from gateway.open_connections import connections_that_fit
from gateway.request_head import MAX_REQUEST_HEAD_BYTES
from gateway.request_tracker import RequestTracker
from gateway.settings import Settings
from gateway.shutdown import Shutdown, stop_on_signals
from gateway.task_groups import open_task_group, unwrapped

LISTEN_BACKLOG = 1024
"""Connections that may wait to be accepted: all listeners of a busy process coming back at once."""

NOTSENT_LOWAT_BYTES = 16 * 1024
"""Unsent bytes the kernel keeps for a connection: 4 s of speech. By default it would be over a minute of it, paid
for and gone when the listener leaves."""

KEEP_ALIVE_SECONDS = 75.0
"""Idle time between two requests. More than the 60 s of the usual proxies, so that it is the proxy that closes:
closing from this side would race with its next request. For a request's head: `gateway.request_wait`."""

YOUNGER_COLLECTIONS = 2000
"""Collections of younger objects between two of all objects (Python's default is 10). A full one stops everybody: for
100 ms with 1,000 listeners; for 600 ms, all the sound a player starts with, among 9,000 hostile connections. And it
finds next to nothing: a generation leaves 13 objects in cycles (measured over 160), nearly all found young."""


T = TypeVar("T")
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.server")


class CannotListen(Exception):
    """The address is taken or not ours. The message says what to do."""


class Drainable(Protocol):
    """Work that outlives requests."""

    def start_draining(self) -> None:
        """Refuse new work from now on."""

    async def wait_idle(self) -> None:
        """Return when nothing runs."""


async def serve(
    app: ASGIApp,
    settings: Settings,
    work: Drainable,
    *,
    stop: Shutdown | None = None,
    listener: socket.socket | None = None,
    internal: socket.socket | None = None,
    on_listening: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Serve `app` until `stop` is requested, then drain for at most `settings.drain_seconds`, and return.

    Without a `stop`, SIGINT and SIGTERM are it: the first one drains, the second ends at once. Where `stop` hands over,
    the listener is closed at once, and for the same time again whatever comes on open connections is still taken. A
    `listener` of `listen`, which other processes may share, replaces that of the settings; it is closed at the end.
    `internal` is this process's own, where other instances reach it to the end of the drain.
    `on_listening` is called with the base URL as soon as connections are accepted; when it raises, the server stops
    and that is raised.

    Raises:
        CannotListen: the address cannot be bound.
        UnsupportedHypercorn: see `gateway.http1.install`.
    """
    if stop is None:
        async with stop_on_signals() as stop_by_signal:
            await serve(
                app,
                settings,
                work,
                stop=stop_by_signal,
                listener=listener,
                internal=internal,
                on_listening=on_listening,
            )
        return
    http1.install()
    requests = RequestTracker(InviteBody(OfferPush(app)))
    most = connections_that_fit(settings.max_connections, settings.max_concurrent_generations)
    acceptor = Acceptor(requests, _config(settings, most))
    if listener is None:
        listener = listen_as_set(settings)
        acceptor.open(listener)
    else:
        acceptor.open_shared(listener)
    base_url = base_url_of(listener)
    inner = Acceptor(requests, _config(settings, most))
    if internal is not None:
        inner.open(internal)
    async with _closing(acceptor, stop), _closing(inner, stop), open_task_group() as tasks:

        async def end_when_asked() -> None:
            await stop.requested()
            if stop.handing_over:
                await _hand_over(requests, acceptor, stop, settings.drain_seconds)
            await _drain(requests, work, stop, settings.drain_seconds)
            tasks.cancel_scope.cancel()

        tasks.start_soon(end_when_asked)
        _log.info("server.listening", url=base_url)
        if on_listening is not None:
            await on_listening(base_url)
    _log.info("server.stopped")


@asynccontextmanager
async def _closing(acceptor: Acceptor, stop: Shutdown) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await acceptor.aclose(stop)


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` on production's event loop: asyncio, on uvloop where that exists. An only failure raises as itself.

    The process may have as many open files as the system lets it, not the 1024 that are usual: every listener is one.

    What exists by now, code for the most part, is never collected: looking through it again stopped every stream for
    60 ms at each full collection (measured with 50 of them).
    """
    _allow_files()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], YOUNGER_COLLECTIONS)
    with unwrapped():
        return anyio.run(main, backend="asyncio", backend_options={"use_uvloop": sys.platform != "win32"})


def _allow_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS says that there is no limit, and refuses that as one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def listen_as_set(settings: Settings) -> socket.socket:
    """The listening socket of these settings. Raises CannotListen."""
    return listen(settings.bind_host, settings.bind_port, stall_seconds=_longest_stall(settings))


def listen_internally(settings: Settings) -> socket.socket:
    """A socket for other instances alone. Raises CannotListen."""
    return listen(settings.internal_host, settings.internal_port, stall_seconds=_longest_stall(settings))


def listen(host: str, port: int, *, stall_seconds: float) -> socket.socket:
    """A listening socket; accepted connections inherit its options. Raises CannotListen."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as undo:
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            _set_options(listener, stall_seconds)
            listener.bind(address)
            listener.listen(LISTEN_BACKLOG)
            undo.pop_all()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = "another program uses it. Stop that program, or choose another port (UTTER_BIND_PORT)"
        else:
            advice = f"{error.strerror or error}. Check UTTER_BIND_HOST and UTTER_BIND_PORT, or UTTER_INTERNAL_..."
        raise CannotListen(f"Cannot listen on {host} port {port}: {advice}.") from error
    return listener


def _set_options(listener: socket.socket, stall_seconds: float) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Hypercorn sets it on its own sockets: an audio frame must not wait for the next one.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux and macOS
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_seconds * 1000))


def _longest_stall(settings: Settings) -> float:
    """The kernel's limit holds for all readers, so it is that of the most patient ones. It is the backstop: who may
    be dropped earlier is known to the routes only, which use `Connection.reset`."""
    return max(settings.write_stall_seconds, settings.token_write_stall_seconds)


def base_url_of(listener: socket.socket) -> str:
    """What a client on this machine calls it."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _config(settings: Settings, max_connections: int) -> http1.ServerConfig:
    config = http1.ServerConfig(
        {"Access-Control-Allow-Origin": cors_origin(settings.cors_allowed_origin, None)}, max_connections
    )
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.h11_max_incomplete_size = MAX_REQUEST_HEAD_BYTES
    config.include_server_header = False
    config.accesslog = None  # RequestContext writes one, without tokens
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


async def _hand_over(requests: RequestTracker, acceptor: Acceptor, stop: Shutdown, seconds: float) -> None:
    """Return when every client has left for somebody else, the time is over, or nobody wants to wait any more.

    New work is still taken: who has a connection open cannot know that this is not the place for it any more.
    """
    acceptor.stop_accepting()
    requests.start_draining()
    _log.info("server.handing_over", requests=requests.running, limit_seconds=seconds)
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:

            async def give_up_when_asked() -> None:
                await stop.drain_requested()
                tasks.cancel_scope.cancel()

            tasks.start_soon(give_up_when_asked)
            await acceptor.part()
            tasks.cancel_scope.cancel()


async def _drain(requests: RequestTracker, work: Drainable, stop: Shutdown, seconds: float) -> None:
    """Return when everything is done, the time is over, or nobody wants to wait any more."""
    work.start_draining()
    requests.start_draining()
    _log.info("server.draining", requests=requests.running, limit_seconds=seconds)
    done = False
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:

            async def give_up_when_forced() -> None:
                await stop.forced()
                tasks.cancel_scope.cancel()

            tasks.start_soon(give_up_when_forced)
            await work.wait_idle()
            await requests.wait_idle()
            done = True
            tasks.cancel_scope.cancel()
    _log.info("server.drained" if done else "server.drain_incomplete", requests=requests.running)
