"""How many connections a process keeps, and which one goes when another wants in.

A descriptor is all that a silent client costs, and a process has so many of them. At the limit a connection that asks
nothing - between two requests, or still without a whole one - makes room for the new one, the longest waiting first.
What streams is never touched: when everybody is busy, it is the new one that is refused.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

import structlog

RESERVED_DESCRIPTORS = 512
"""Kept for what is no client's connection: both databases' pools, calls to the providers (120), stored objects that
are read, logs. The provider's sockets come on top, one for each generation."""

MAX_REFUSALS_AT_ONCE = 100
"""Connections that are being told 503. More are dropped without a word: an answer costs a descriptor for a moment."""

VICTIMS_LOOKED_AT = 50
"""How far along the queue one is sought that has read all it was sent; then the first one goes as it is."""

LOG_EVERY_SECONDS = 10.0
"""Between two lines about the limit. It is reached by floods, and a line for each connection would be another."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.connections")


class Client(Protocol):
    """A connection as this module sees it. Compared by identity."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes of an answer that its client has not taken."""

    def give_up(self) -> None:
        """Close it now."""

    def reset(self) -> None:
        """Close it now, and forget what was not delivered."""

    def rest_anew(self) -> None:
        """The time between two of its requests has changed."""


class OpenConnections:
    """Every open connection of this process, at most `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: set[Client] = set()
        self._waiting: dict[Client, None] = {}  # the longest waiting first
        self._refusing = 0
        self._given_up = 0
        self._refused = 0
        self._logged_at = float("-inf")

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, client: Client) -> bool:
        """Count it in, maybe in the place of another. False when there is no room."""
        if len(self._open) >= self.most and not self._make_room():
            return False
        self._open.add(client)
        return True

    def leave(self, client: Client) -> None:
        """It has ended, or was never admitted."""
        self._open.discard(client)
        self._waiting.pop(client, None)

    def waits(self, client: Client) -> None:
        """It asks nothing from now on: the last in the queue of those who may have to go."""
        self._waiting.pop(client, None)
        if client in self._open:
            self._waiting[client] = None

    def works(self, client: Client) -> None:
        """It has asked something and stays until that is answered."""
        self._waiting.pop(client, None)

    def give_up_waiting(self) -> None:
        """Close all that ask nothing: the server stops."""
        for client in tuple(self._waiting):
            client.give_up()

    def may_refuse_in_words(self) -> bool:
        """Whether one more may be told why it is refused; `refused` must be called afterwards."""
        if self._refusing >= MAX_REFUSALS_AT_ONCE:
            return False
        self._refusing += 1
        return True

    def refused(self) -> None:
        """It was told."""
        self._refusing -= 1

    def _make_room(self) -> bool:
        victim = next(
            (client for client in islice(self._waiting, VICTIMS_LOOKED_AT) if not client.unsent_bytes),
            next(iter(self._waiting), None),
        )
        if victim is None:
            self._refused += 1
        else:
            self._given_up += 1
            self.leave(victim)
            victim.give_up()
        self._say()
        return victim is not None

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._logged_at < LOG_EVERY_SECONDS:
            return
        _log.warning("server.connections_full", limit=self.most, given_up=self._given_up, refused=self._refused)
        self._logged_at, self._given_up, self._refused = now, 0, 0


def connections_that_fit(wanted: int, generations: int) -> int:
    """How many connections this process's descriptors leave room for, at most `wanted`.

    Says in the log when they are fewer. At least one: a server that answers nobody helps nobody.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + generations + RESERVED_DESCRIPTORS
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return wanted
    fit = max(1, wanted - (needed - limit))
    _log.warning(
        "server.descriptors_low",
        connections=fit,
        wanted=wanted,
        descriptors=limit,
        advice=f"Raise the hard limit (ulimit -Hn, LimitNOFILE) to {needed}, or lower UTTER_MAX_CONNECTIONS.",
    )
    return fit
