"""Access tokens: the good one, and every way of not being one."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.auth import CLOCK_SKEW_SECONDS, Authenticator, Unauthorized, User, mint_token
from gateway.settings import load_settings

SUPABASE_SECRET = "supabase-secret-of-at-least-32-characters"
LOCAL_SECRET = "local-secret-of-at-least-32-characters-xx"
USER = UUID("0a0b0c0d-1111-4222-8333-444455556666")


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator(
        load_settings(
            {
                "UTTER_ENV": "local",
                "DATABASE_URL": "postgresql:///utter",
                "SUPABASE_JWT_SECRET": SUPABASE_SECRET,
                "UTTER_TOKEN_SECRET": LOCAL_SECRET,
            }
        )
    )


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {"sub": str(USER), "aud": "authenticated", "role": "authenticated", "iat": now, "exp": now + 3600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(payload: dict[str, Any], secret: str = SUPABASE_SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(payload, secret, algorithm=algorithm)


def refusal(authenticator: Authenticator, authorization: str | None) -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        authenticator.verify(authorization)
    assert caught.value.status == 401
    assert caught.value.category is None
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}
    return caught.value


@pytest.mark.parametrize("secret", [SUPABASE_SECRET, LOCAL_SECRET])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_a_good_token_names_its_user(authenticator: Authenticator, secret: str, scheme: str) -> None:
    assert authenticator.verify(f"{scheme} {signed(claims(), secret)}") == User(USER)


def test_a_minted_token_is_a_good_token(authenticator: Authenticator) -> None:
    assert authenticator.verify(f"Bearer {mint_token(LOCAL_SECRET, USER)}") == User(USER)


def test_an_upper_case_subject_is_the_same_user(authenticator: Authenticator) -> None:
    assert authenticator.verify(f"Bearer {signed(claims(sub=str(USER).upper()))}") == User(USER)


def test_an_audience_may_be_a_list(authenticator: Authenticator) -> None:
    assert authenticator.verify(f"Bearer {signed(claims(aud=['authenticated', 'other']))}") == User(USER)


@pytest.mark.parametrize("header", [None, "", "  "])
def test_a_missing_header_is_said_to_be_missing(authenticator: Authenticator, header: str | None) -> None:
    assert "missing" in refusal(authenticator, header).detail


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Token abc", "Bearer a b", "Bearer not.a.token", "Bearer ü.ü.ü"],
)
def test_what_is_no_bearer_token_is_refused(authenticator: Authenticator, header: str) -> None:
    assert "not valid" in refusal(authenticator, header).detail


def test_a_bare_token_without_a_scheme_is_refused(authenticator: Authenticator) -> None:
    refusal(authenticator, signed(claims()))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": None},
        {"aud": "anon"},
        {"role": None},
        {"role": "anon"},
        {"role": "service_role"},
        {"exp": None},
        {"exp": "soon"},
        {"sub": None},
        {"sub": ""},
        {"sub": "admin"},
        {"sub": USER.hex},
        {"sub": f"{{{USER}}}"},
        {"nbf": int(time.time()) + 3600},
    ],
    ids=str,
)
def test_a_wrong_or_missing_claim_is_refused(authenticator: Authenticator, changes: dict[str, Any]) -> None:
    refusal(authenticator, f"Bearer {signed(claims(**changes))}")


def test_a_subject_that_is_no_text_is_refused(authenticator: Authenticator) -> None:
    # PyJWT refuses to make such a token, so it is put together by hand.
    header = {"alg": "HS256", "typ": "JWT"}
    token = jwt.api_jws.encode(json.dumps(claims(sub=5)).encode(), SUPABASE_SECRET, "HS256", header)
    refusal(authenticator, f"Bearer {token}")


def test_the_anon_key_is_no_sign_in(authenticator: Authenticator) -> None:
    anon = {"iss": "supabase-demo", "role": "anon", "exp": int(time.time()) + 10**8}
    refusal(authenticator, f"Bearer {signed(anon)}")


def test_an_expired_token_is_said_to_be_expired(authenticator: Authenticator) -> None:
    long_ago = int(time.time() - CLOCK_SKEW_SECONDS - 60)
    assert "expired" in refusal(authenticator, f"Bearer {signed(claims(exp=long_ago))}").detail


def test_a_clock_may_be_off_by_a_little(authenticator: Authenticator) -> None:
    just_now = int(time.time() - CLOCK_SKEW_SECONDS / 2)
    assert authenticator.verify(f"Bearer {signed(claims(exp=just_now))}") == User(USER)


def test_expiry_is_told_only_to_whoever_had_a_real_token(authenticator: Authenticator) -> None:
    forged = signed(claims(exp=1), "another-secret-of-at-least-32-characters")
    assert "not valid" in refusal(authenticator, f"Bearer {forged}").detail


def test_another_key_is_refused(authenticator: Authenticator) -> None:
    refusal(authenticator, f"Bearer {signed(claims(), 'another-secret-of-at-least-32-characters')}")


def test_alg_none_is_refused(authenticator: Authenticator) -> None:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    for algorithm in ("none", "None", "NONE"):
        refusal(authenticator, f"Bearer {part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims())}.")


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_the_algorithm_is_ours_to_choose(authenticator: Authenticator, algorithm: str) -> None:
    secret = SUPABASE_SECRET * 2  # long enough for every one of them
    own = Authenticator(
        load_settings({"UTTER_ENV": "local", "DATABASE_URL": "postgresql:///u", "SUPABASE_JWT_SECRET": secret})
    )
    assert own.verify(f"Bearer {signed(claims(), secret)}") == User(USER)
    refusal(own, f"Bearer {signed(claims(), secret, algorithm)}")


def test_an_asymmetric_token_is_refused(authenticator: Authenticator) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    refusal(authenticator, f"Bearer {jwt.encode(claims(), key, algorithm='RS256')}")


def test_without_a_secret_nobody_gets_in() -> None:
    settings = load_settings(
        {
            "UTTER_ENV": "local",
            "DATABASE_URL": "postgresql:///u",
            "UTTER_TOKEN_SECRET": LOCAL_SECRET,
        }
    )
    refusal(Authenticator(settings), f"Bearer {signed(claims())}")
    refusal(Authenticator(settings), f"Bearer {signed(claims(), 'x' * 32)}")


def test_a_refusal_never_quotes_the_token(authenticator: Authenticator) -> None:
    token = signed(claims(role="anon"))
    error = refusal(authenticator, f"Bearer {token}")
    assert token not in str(error)
    assert error.__cause__ is None
