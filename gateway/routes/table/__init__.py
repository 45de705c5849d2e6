"""The API's operations, one row each; `gateway.routes.operations` says what the columns mean."""

from __future__ import annotations

from dataclasses import replace

from gateway.routes.operations import Operation
from gateway.routes.table import account, objects, server, speech, voices

_GROUPS = {
    "Server": server.ROWS,
    "Account": account.ROWS,
    "Voices": voices.ROWS,
    "Speech": speech.ROWS,
    "Recordings and audio": objects.ROWS,
}

API: tuple[Operation, ...] = tuple(replace(row, group=group) for group, rows in _GROUPS.items() for row in rows)
"""All of them, in the order of the document."""
