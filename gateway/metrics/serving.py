"""`/metrics`, on an address of its own: a thread of the library's answers, also while the event loop is stuck.

Several workers write what they count into files of one folder, which their parent reads when it is asked; a worker
that has ended keeps its counts there, and loses its gauges (docs/decisions/0008-metrics.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.metrics import REGISTRY
from gateway.net import Bind
from gateway.server import CannotListen

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""By which the library learns, when it is first imported, that it counts for others too."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.metrics")


@contextmanager
def serving_metrics(bind: Bind | None) -> Iterator[None]:
    """What this process counts, for the length of the body. Raises `CannotListen`."""
    with _answering(bind, REGISTRY):
        yield


@contextmanager
def gathering_metrics(bind: Bind | None) -> Iterator[Callable[[int], None]]:
    """What the workers count that are started in the body; gives what to tell the id of one that ended, whose gauges
    are of no account any more. Raises `CannotListen`.
    """
    with TemporaryDirectory(prefix="utter-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder  # for the workers; this process has imported the library already
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]

        def forget_gauges(pid: int) -> None:
            with suppress(OSError):
                mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]

        try:
            with _answering(bind, registry):
                yield forget_gauges
        finally:
            del os.environ[FOLDER_VARIABLE]


@contextmanager
def _answering(bind: Bind | None, registry: CollectorRegistry) -> Iterator[None]:
    if bind is None:
        yield
        return
    try:
        server, thread = start_http_server(bind.port, bind.host, registry)
    except OSError as error:
        raise CannotListen(f"Metrics cannot be served at {bind}: {error.strerror or error}.") from error
    _log.info("metrics.listening", url=f"http://{bind.host}:{server.server_port}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
