"""A code nobody knows is counted and logged, and the count is bounded."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from gateway.providers.unknown_codes import MAX_CODES, OTHERS, UnknownCodes
from protocol.errors import Fault, ProviderFailure, VendorError
from tests.gateway.providers.conftest import Serve
from tests.support.qwen_dialogue import event, greet, read_flight, wait_for_goodbye
from tests.support.qwen_take import Take
from tests.support.websocket_servers import Peer


def meet(codes: UnknownCodes, vendor: VendorError, fault: Fault = Fault.UNKNOWN) -> None:
    with pytest.raises(ProviderFailure), codes.watched(structlog.get_logger()):
        raise ProviderFailure(fault, vendor)


def test_each_code_is_counted_and_said() -> None:
    codes = UnknownCodes()
    with structlog.testing.capture_logs() as logs:
        for code in ("Brand.New", "Brand.New", "", "Other"):
            meet(codes, VendorError(code, "words", http_status=418))
    assert codes.seen == {"Brand.New": 2, "(none)": 1, "Other": 1}
    assert [(line["event"], line["vendor_code"], line["seen"]) for line in logs[:2]] == [
        ("provider.unknown_code", "Brand.New", 1),
        ("provider.unknown_code", "Brand.New", 2),
    ]
    assert not any("words" in str(line) for line in logs)


def test_what_is_known_is_not_counted() -> None:
    codes = UnknownCodes()
    meet(codes, VendorError("Throttling"), Fault.RATE_LIMITED)
    assert not codes.seen


def test_codes_beyond_the_limit_share_one_count() -> None:
    codes = UnknownCodes()
    for number in range(MAX_CODES + 7):
        meet(codes, VendorError(f"Code.{number}"))
    assert len(codes.seen) == MAX_CODES + 1
    assert codes.seen[OTHERS] == 7


@pytest.mark.anyio
async def test_the_session_counts_what_it_met(provider: Any, serve: Serve) -> None:
    def fails(peer: Peer) -> None:
        greet(peer)
        read_flight(peer)
        peer.send(event("error", error={"code": "Brand.New", "message": "words"}))
        wait_for_goodbye(peer)

    with serve(fails) as server:
        async with provider(server.url) as opened:
            with pytest.raises(ProviderFailure) as caught:
                await Take().speak(opened)
    assert caught.value.fault is Fault.UNKNOWN
    assert opened.unknown_codes.seen == {"Brand.New": 1}
