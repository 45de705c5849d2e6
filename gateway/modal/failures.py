"""What went wrong at Modal, for the trace."""

from __future__ import annotations

import structlog

from gateway.redaction import without_quotes
from protocol.errors import ProviderFailure

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("utter.modal")


def log_failure(event: str, failure: ProviderFailure, **ids: str) -> None:
    """The provider's own words, without what they quote, for whoever is on call."""
    facts, vendor = failure.fault.facts, failure.vendor
    _log.warning(
        event,
        fault=failure.fault.value,
        category=facts.category.value,
        remedy=facts.remedy,
        http_status=vendor.http_status,
        vendor_message=without_quotes(vendor.message),
        **ids,
    )
