"""Vendor codes that `protocol/vendor_codes.py` does not know, counted: somebody should add the frequent ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.typing import FilteringBoundLogger

from protocol.errors import Fault, ProviderFailure, VendorError

MAX_CODES = 100
"""Different codes that are counted apart; a vendor that makes up a new one each time must not fill the memory."""

OTHERS = "(others)"


class UnknownCodes:
    """What one driver has met. `seen` is the number of times, by code."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    @contextmanager
    def watched(self, log: FilteringBoundLogger) -> Iterator[None]:
        """Count and log an unknown failure of the body, which goes on."""
        try:
            yield
        except ProviderFailure as failure:
            if failure.fault is Fault.UNKNOWN:
                self._note(failure.vendor, log)
            raise

    def _note(self, vendor: VendorError, log: FilteringBoundLogger) -> None:
        code = vendor.code or "(none)"
        if code not in self.seen and len(self.seen) >= MAX_CODES:
            code = OTHERS
        self.seen[code] += 1
        log.warning(
            "provider.unknown_code",
            vendor_code=vendor.code,
            http_status=vendor.http_status,
            close_code=vendor.close_code,
            seen=self.seen[code],
        )
