"""Bytes of an answer, written where they are made.

A piece of a body goes through a dozen layers, ours and Hypercorn's, and a wake-up of its task: half of what a piece of
live speech costs. Once the head is out none of them has anything to do with the pieces of a chunked body, so this
extension of ASGI (`scope["extensions"]`) writes one straight to the socket, as long as the client keeps up.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope

PUSH_EXTENSION = "utter.push"

Push = Callable[[bytes], bool]
"""Write a piece of a body without a Content-Length, as a chunk (RFC 9112, 7.1), without waiting. False, and nothing is
written, before the head is out, while something sent earlier has not left for the kernel, and once the client has left:
then use `send`, which waits."""


def push_of(scope: Scope) -> Push | None:
    """The extension; None in an answer that cannot have it."""
    found: Push | None = scope.get("extensions", {}).get(PUSH_EXTENSION)
    return found
