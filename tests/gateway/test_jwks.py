"""Key sets: which keys are taken, and for what alone."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gateway.jwks import MAX_KEYS, NoKeySet, parse_key_set
from tests.support.issuer import SigningKey, ec_key, rsa_key

ELLIPTIC = ec_key("elliptic")
RSA = rsa_key("rsa")


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize(("key", "algorithm"), [(ELLIPTIC, "ES256"), (RSA, "RS256")])
@pytest.mark.parametrize("absent", [{}, {"use": None}, {"key_ops": None}, {"alg": None}, {"ext": None}], ids=str)
def test_a_key_is_pinned_to_the_algorithm_of_its_kind(key: SigningKey, algorithm: str, absent: dict[str, None]) -> None:
    found = parse_key_set(key_set(key.published(**absent)))[key.key_id]
    assert found.algorithm == algorithm
    assert found.public_key.public_numbers() == key.private.public_key().public_numbers()


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"k" * 32).decode(), "alg": "HS256"},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        ELLIPTIC.published(use="enc"),
        ELLIPTIC.published(key_ops=["sign"]),
        ELLIPTIC.published(key_ops=[]),
        ELLIPTIC.published(alg="RS256"),
        ELLIPTIC.published(alg="HS256"),
        ELLIPTIC.published(alg="none"),
        ELLIPTIC.published(kid=None),
        ELLIPTIC.published(kid=""),
        ELLIPTIC.published(kid="x" * 201),
        ELLIPTIC.published(kid=5),
        ELLIPTIC.published(x=RSA.published()["e"]),
        ELLIPTIC.published(x=ELLIPTIC.published()["y"]),
        ELLIPTIC.published(x="not base64!"),
        ELLIPTIC.published(x=None),
        ELLIPTIC.published(crv="P-384"),
        ELLIPTIC.published(crv=None),
        ec_key("other curve", ec.SECP384R1()).published(alg=None),
        RSA.published(alg="ES256"),
        RSA.published(alg="RS512"),
        RSA.published(alg="HS256"),
        RSA.published(e="AQ"),
        RSA.published(e=None),
        RSA.published(n="AQAB"),
        rsa_key("weak", 1024).published(),
        "text",
        None,
        [],
        {},
    ],
    ids=lambda entry: str(entry)[:60],
)
def test_what_is_no_key_of_ours_is_left_out_and_harms_no_other(entry: object) -> None:
    assert set(parse_key_set(key_set(entry, RSA.published(kid="good")))) == {"good"}


def test_the_first_of_two_with_one_id_counts() -> None:
    found = parse_key_set(key_set(ELLIPTIC.published(kid="one"), RSA.published(kid="one")))
    assert found["one"].algorithm == "ES256"


def test_no_more_than_the_bound_is_read() -> None:
    entries = [ELLIPTIC.published(kid=str(number)) for number in range(MAX_KEYS + 5)]
    assert len(parse_key_set(key_set(*entries))) == MAX_KEYS


def test_an_issuer_may_have_no_keys() -> None:
    assert parse_key_set(b'{"keys":[]}') == {}


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b"null", b'{"keys":{}}', b"{}", b"\xff", b"[" * 100_000, b"<html>"]
)
def test_what_is_no_key_set(document: bytes) -> None:
    with pytest.raises(NoKeySet):
        parse_key_set(document)


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["keys", "kty", "kid", "crv", "x", "y", "n", "e", "alg"]), inner, max_size=6
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_document_is_an_exception(document: bytes) -> None:
    with contextlib.suppress(NoKeySet):
        parse_key_set(document)
