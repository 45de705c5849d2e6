"""What an object may be called: a bucket of v1, and a key that is an owner's own (product section 9)."""

from __future__ import annotations

import re

REFERENCES = "references"
"""The bucket of recordings that voices are cloned from, and of design previews (contract 3.5)."""

GENERATIONS = "generations"
"""The bucket of generated audio (contract 3.5)."""

BUCKETS = frozenset({REFERENCES, GENERATIONS})

MAX_SEGMENT_CHARS = 255
"""Longest file name of common file systems, bytes; keys are ASCII."""

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OWNER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class InvalidKey(ValueError):
    """A key that could name anything but an owner's own file: a mistake of ours, or an attempt."""


def check_key(bucket: str, key: str) -> None:
    """Raises `InvalidKey` unless the key is an owner's file in a known bucket."""
    owner, *rest = key.split("/")
    if bucket not in BUCKETS:
        raise InvalidKey(f"no bucket {bucket!r}")
    if not _OWNER.fullmatch(owner) or not rest:
        raise InvalidKey("a key begins with its owner's id")
    if not all(len(part) <= MAX_SEGMENT_CHARS and _SEGMENT.fullmatch(part) for part in rest):
        raise InvalidKey("a key's parts hold letters, digits, '-', '_' and '.', and do not begin with '.'")
