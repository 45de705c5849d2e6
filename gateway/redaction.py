"""What a log line may keep of a text that somebody else wrote."""

from __future__ import annotations

import re

VENDOR_TEXT_CHARS = 200
"""How much of a vendor's message a log line keeps: enough to recognise it, little enough to read."""

_QUOTED = re.compile(r"""["'`“”‘’«»](?:.*["'`“”‘’«»]|.*$)""", re.DOTALL)
"""From the first mark to the last, or to the end where there is only one: which mark closes which nobody can tell once
the quoted text has marks of its own."""


def without_quotes(vendor_text: str) -> str:
    """The vendor's words with everything quoted taken out, since a vendor quotes what the user sent."""
    return _QUOTED.sub("'…'", vendor_text)[:VENDOR_TEXT_CHARS]
