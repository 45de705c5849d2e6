"""The taxonomy: whose fault, which fault, and what is never said to whom."""

from __future__ import annotations

import pytest

from protocol.errors import (
    FAULT_FACTS,
    Category,
    Fault,
    LocalProtocolError,
    ProtocolError,
    ProviderFailure,
    RemoteProtocolError,
    VendorError,
)


def test_a_protocol_error_says_whose_fault_it_is() -> None:
    with pytest.raises(TypeError, match="whose fault"):
        ProtocolError("something")
    assert isinstance(LocalProtocolError("x"), ProtocolError)
    assert isinstance(RemoteProtocolError("x"), ProtocolError)
    assert not issubclass(LocalProtocolError, RemoteProtocolError)


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_words_for_users_and_for_operators(fault: Fault) -> None:
    facts = fault.facts
    assert facts is FAULT_FACTS[fault]
    assert facts.detail.endswith(".")
    assert facts.remedy.endswith(".")
    # Users never hear whose service it is or which knob would help.
    assert not any(word in facts.detail for word in ("vendor", "DASHSCOPE", "QWEN", "Qwen", "account", "key"))


STATUSES = {
    Category.VALIDATION: {400, 409},
    Category.PROVIDER_REJECTED: {502},
    Category.PROVIDER_UNAVAILABLE: {503},
    Category.TIMEOUT: {504},
    Category.CANCELLED: {409},
}


@pytest.mark.parametrize("fault", Fault)
def test_the_status_follows_from_the_category(fault: Fault) -> None:
    assert fault.facts.status in STATUSES[fault.facts.category]


@pytest.mark.parametrize("fault", [Fault.ACCOUNT_ARREARS, Fault.NO_AUDIO, Fault.KEY_REFUSED, Fault.VOICE_QUOTA])
def test_what_costs_money_or_cannot_get_better_is_not_retried(fault: Fault) -> None:
    assert not fault.facts.retryable


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.OVERLOADED, Fault.CONNECTION_LOST])
def test_what_passes_is_retried(fault: Fault) -> None:
    assert fault.facts.retryable


def test_a_failure_never_shows_the_vendors_words() -> None:
    failure = ProviderFailure(Fault.BAD_INPUT, VendorError("Code", "secret words"), session_id="s", last_event_id="e")
    assert str(failure).startswith("bad_input: ")
    assert "secret" not in str(failure)
    assert (failure.session_id, failure.last_event_id) == ("s", "e")
    assert ProviderFailure(Fault.CANCELLED).vendor == VendorError()
