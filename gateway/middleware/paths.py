"""The paths that some layer treats in a way of its own. Every route is served under both prefixes."""

from __future__ import annotations

import re

ROUTE_PREFIXES = ("/api", "/functions/v1/api")

DEV_TOKEN_PATHS = frozenset(f"{prefix}/dev/token" for prefix in ROUTE_PREFIXES)
"""Where the page signs itself in (UTTER_ENV=local). Without CORS headers, so that no foreign page can read it."""

STREAM_PATHS = re.compile(r"(?:/functions/v1)?/api/(?:generate/stream|generations/[^/]+/stream|tasks/[^/]+/events)")
"""Routes whose answer has no length known beforehand (fullmatch)."""

UPLOAD_PATHS = re.compile(r"(?:/functions/v1)?/api/objects/[^/]+/.+")
"""Where a PUT stores its body as it comes (fullmatch)."""

FORM_PATHS = frozenset(f"{prefix}/voices/design" for prefix in ROUTE_PREFIXES)
"""Where a POST brings a recording in a form."""
