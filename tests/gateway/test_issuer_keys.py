"""Sign-in by the issuer's keys: fetched from a real server, kept, looked for; and every way in that must be shut."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from gateway.auth import CLOCK_SKEW_SECONDS, Authenticator, SignInUnchecked, Unauthorized, User, open_authenticator
from gateway.issuer_keys import (
    MAX_DOCUMENT_BYTES,
    REFRESH_SECONDS,
    RETRY_SECONDS,
    STALE_SECONDS,
    UNKNOWN_KEY_SECONDS,
    IssuerKeys,
)
from gateway.settings import Settings, load_settings
from tests.support.issuer import Issuer, SigningKey, claims_of, ec_key, rsa_key, running_issuer

pytestmark = pytest.mark.anyio

ELLIPTIC = ec_key("5c1f-elliptic")
RSA = rsa_key("7a2e-rsa")
NEXT = ec_key("9b3d-next")
USER = UUID("0a0b0c0d-1111-4222-8333-444455556666")
SECRET = "supabase-secret-of-at-least-32-characters"

WAIT_SECONDS = 10.0


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer(ELLIPTIC, RSA) as running:
        yield running


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Door:
    """An authenticator whose keys are fetched when the test says so."""

    def __init__(self, issuer: Issuer, keys: IssuerKeys, clock: Clock, **environment: str) -> None:
        self.issuer, self.keys, self.clock = issuer, keys, clock
        self.authenticator = Authenticator(settings(issuer, **environment), keys)

    def enter(self, token: str) -> User:
        return self.authenticator.verify(f"Bearer {token}")

    def refusal(self, token: str) -> Unauthorized:
        with pytest.raises(Unauthorized) as caught:
            self.enter(token)
        return caught.value


def settings(issuer: Issuer, **environment: str) -> Settings:
    return load_settings(
        {
            "UTTER_ENV": "staging",
            "DATABASE_URL": "postgresql:///utter",
            "DASHSCOPE_API_KEY": "sk-of-nobody",
            "UTTER_SIGNING_SECRET": "another secret of at least thirty-two bytes",
            "SUPABASE_JWKS_URL": issuer.url,
            **environment,
        }
    )


@asynccontextmanager
async def open_door(issuer: Issuer, **environment: str) -> AsyncIterator[Door]:
    clock = Clock()
    async with httpx.AsyncClient(trust_env=False) as client:
        yield Door(issuer, IssuerKeys(issuer.url, client, clock), clock, **environment)


@pytest.fixture
async def door(anyio_backend: Any, issuer: Issuer) -> AsyncIterator[Door]:
    """With the keys in."""
    async with open_door(issuer) as opened:
        await opened.keys.refresh()
        yield opened


class TestGoodTokens:
    @pytest.mark.parametrize("key", [ELLIPTIC, RSA], ids=lambda key: key.algorithm)
    async def test_both_kinds_of_key(self, door: Door, key: SigningKey) -> None:
        assert door.enter(key.sign(claims_of(USER))) == User(USER)

    async def test_no_request_asks_the_issuer(self, door: Door) -> None:
        asked = door.issuer.asked
        for _ in range(20):
            token = f"Bearer {ELLIPTIC.sign(claims_of(USER))}"
            await door.authenticator.prepare(token)
            door.authenticator.verify(token)
        assert door.issuer.asked == asked

    async def test_a_shared_secret_stays_good_beside_the_keys(self, issuer: Issuer) -> None:
        async with open_door(issuer, SUPABASE_JWT_SECRET=SECRET) as door:
            await door.keys.refresh()
            legacy = jwt.encode(claims_of(USER), SECRET, "HS256", headers={"kid": "legacy"})
            assert door.enter(legacy) == User(USER)
            assert door.enter(RSA.sign(claims_of(USER))) == User(USER)

    async def test_a_clock_may_be_off_by_a_little(self, door: Door) -> None:
        now = int(time.time())
        assert door.enter(ELLIPTIC.sign(claims_of(USER, exp=now - CLOCK_SKEW_SECONDS / 2))) == User(USER)
        assert door.enter(ELLIPTIC.sign(claims_of(USER, nbf=now + CLOCK_SKEW_SECONDS / 2))) == User(USER)


class TestClaims:
    @pytest.mark.parametrize("key", [ELLIPTIC, RSA], ids=lambda key: key.algorithm)
    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": None},
            {"aud": "other"},
            {"role": None},
            {"role": "anon"},
            {"role": "service_role"},
            {"role": ["authenticated"]},
            {"exp": None},
            {"exp": "soon"},
            {"sub": None},
            {"sub": "admin"},
            {"sub": USER.hex},
            {"nbf": int(time.time()) + 3600},
            {"iat": int(time.time()) + 3600},
        ],
        ids=str,
    )
    async def test_a_real_signature_is_not_enough(self, door: Door, key: SigningKey, changes: dict[str, Any]) -> None:
        assert "not valid" in door.refusal(key.sign(claims_of(USER, **changes))).detail

    async def test_an_expired_token_is_said_to_be_expired(self, door: Door) -> None:
        long_ago = int(time.time() - CLOCK_SKEW_SECONDS - 60)
        assert "expired" in door.refusal(RSA.sign(claims_of(USER, exp=long_ago))).detail


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public_pem(key: SigningKey) -> bytes:
    return key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hmac_signed(header: dict[str, Any], secret: bytes) -> str:
    """By hand: PyJWT refuses to use a public key as a secret."""
    signed = f"{part(header)}.{part(claims_of(USER))}"
    return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


class TestAttacks:
    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
    @pytest.mark.parametrize("signature", ["", part(b"x" * 64)])
    async def test_no_signature(self, door: Door, algorithm: str, signature: str) -> None:
        for key_id in (ELLIPTIC.key_id, RSA.key_id, None):
            header = {"alg": algorithm, "typ": "JWT"} | ({"kid": key_id} if key_id else {})
            door.refusal(f"{part(header)}.{part(claims_of(USER))}.{signature}")

    @pytest.mark.parametrize("key", [ELLIPTIC, RSA], ids=lambda key: key.algorithm)
    @pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
    async def test_a_public_key_is_no_shared_secret(self, issuer: Issuer, key: SigningKey, algorithm: str) -> None:
        pem = public_pem(key)
        known = json.dumps(key.published()).encode()
        async with open_door(issuer, SUPABASE_JWT_SECRET=SECRET) as door:
            await door.keys.refresh()
            for secret in (pem, pem.strip(), known, key.published().get("x", key.published().get("n", "")).encode()):
                door.refusal(hmac_signed({"alg": algorithm, "kid": key.key_id}, secret))

    @pytest.mark.parametrize(("key", "other"), [(ELLIPTIC, RSA), (RSA, ELLIPTIC)], ids=["ES256", "RS256"])
    async def test_the_algorithm_is_the_key_s_not_the_token_s(
        self, door: Door, key: SigningKey, other: SigningKey
    ) -> None:
        door.refusal(jwt.encode(claims_of(USER), key.private, key.algorithm, headers={"kid": other.key_id}))
        signed = key.sign(claims_of(USER)).split(".")
        claimed = part({"alg": other.algorithm, "kid": key.key_id})
        door.refusal(f"{claimed}.{signed[1]}.{signed[2]}")

    @pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
    async def test_a_sister_algorithm_of_the_same_key(self, door: Door, algorithm: str) -> None:
        door.refusal(jwt.encode(claims_of(USER), RSA.private, algorithm, headers={"kid": RSA.key_id}))

    async def test_a_stranger_s_key_under_a_known_id(self, door: Door) -> None:
        door.refusal(SigningKey(ELLIPTIC.key_id, NEXT.private).sign(claims_of(USER)))

    @pytest.mark.parametrize(
        "key_id",
        [None, "", "../../keys", "' or 1=1 --", ELLIPTIC.key_id.upper(), ELLIPTIC.key_id + "\0", "x" * 5000],
        ids=lambda value: repr(value)[:20],
    )
    async def test_tricks_with_the_key_id(self, door: Door, key_id: str | None) -> None:
        asked = door.issuer.asked
        header: dict[str, Any] = {"alg": "ES256"} | ({} if key_id is None else {"kid": key_id})
        _, payload, signature = ELLIPTIC.sign(claims_of(USER)).split(".")
        token = f"{part(header)}.{payload}.{signature}"
        await door.authenticator.prepare(f"Bearer {token}")
        door.refusal(token)
        assert door.issuer.asked == asked

    @pytest.mark.parametrize("key_id", [5, ["a"], {"a": 1}, True], ids=str)
    async def test_a_key_id_that_is_no_text(self, door: Door, key_id: object) -> None:
        token = f"{part({'alg': 'ES256', 'kid': key_id})}.{part(claims_of(USER))}.{part(b'x' * 64)}"
        await door.authenticator.prepare(f"Bearer {token}")
        door.refusal(token)

    async def test_a_token_cannot_bring_its_own_key(self, door: Door) -> None:
        with running_issuer(NEXT) as stranger:
            for key_id in (NEXT.key_id, ELLIPTIC.key_id):
                token = NEXT.sign(
                    claims_of(USER, iss=stranger.url.removesuffix("/.well-known/jwks.json")),
                    kid=key_id,
                    jku=stranger.url,
                    x5u=stranger.url,
                    jwk=NEXT.published(),
                    x5c=[part(b"certificate")],
                )
                await door.authenticator.prepare(f"Bearer {token}")
                door.refusal(token)
            assert stranger.asked == 0

    async def test_an_extension_that_nobody_here_knows(self, door: Door) -> None:
        door.refusal(ELLIPTIC.sign(claims_of(USER), crit=["exp"], exp=1))

    async def test_a_changed_payload(self, door: Door) -> None:
        header, _, signature = ELLIPTIC.sign(claims_of(USER)).split(".")
        door.refusal(f"{header}.{part(claims_of(UUID(int=7)))}.{signature}")


class TestRotation:
    async def test_a_new_key_is_looked_for_once(self, door: Door) -> None:
        async with running(door):
            door.issuer.publish(NEXT)
            door.clock.now += UNKNOWN_KEY_SECONDS
            asked = door.issuer.asked
            token = NEXT.sign(claims_of(USER))
            with anyio.fail_after(WAIT_SECONDS):
                await door.authenticator.prepare(f"Bearer {token}")
            assert door.enter(token) == User(USER)
            assert door.issuer.asked == asked + 1
            door.refusal(ELLIPTIC.sign(claims_of(USER)))  # withdrawn

    async def test_many_requests_share_one_fetch(self, door: Door) -> None:
        async with running(door):
            door.issuer.publish(NEXT)
            door.clock.now += UNKNOWN_KEY_SECONDS
            asked = door.issuer.asked
            token = f"Bearer {NEXT.sign(claims_of(USER))}"
            door.issuer.open.clear()
            with anyio.fail_after(WAIT_SECONDS):
                async with anyio.create_task_group() as tasks:
                    for _ in range(50):
                        tasks.start_soon(door.authenticator.prepare, token)
                    await anyio.wait_all_tasks_blocked()
                    door.issuer.open.set()
            assert door.authenticator.verify(token) == User(USER)
            assert door.issuer.asked == asked + 1

    async def test_made_up_key_ids_cause_one_fetch_in_a_while(self, door: Door) -> None:
        async with running(door):
            door.clock.now += UNKNOWN_KEY_SECONDS
            asked = door.issuer.asked
            with anyio.fail_after(WAIT_SECONDS):
                for number in range(20):
                    token = SigningKey(f"made up {number}", NEXT.private).sign(claims_of(USER))
                    await door.authenticator.prepare(f"Bearer {token}")
                    assert "not valid" in door.refusal(token).detail
            assert door.issuer.asked == asked + 1

    async def test_a_request_that_leaves_takes_nobody_s_fetch_along(self, door: Door) -> None:
        async with running(door):
            door.issuer.publish(NEXT)
            door.clock.now += UNKNOWN_KEY_SECONDS
            token = f"Bearer {NEXT.sign(claims_of(USER))}"
            door.issuer.open.clear()
            with anyio.fail_after(WAIT_SECONDS):
                async with anyio.create_task_group() as leaving:
                    leaving.start_soon(door.authenticator.prepare, token)
                    await anyio.wait_all_tasks_blocked()
                    leaving.cancel_scope.cancel()
                async with anyio.create_task_group() as staying:
                    staying.start_soon(door.authenticator.prepare, token)
                    await anyio.wait_all_tasks_blocked()
                    door.issuer.open.set()
            assert door.authenticator.verify(token) == User(USER)


@asynccontextmanager
async def running(door: Door) -> AsyncIterator[None]:
    """The keys are kept fresh beside the body; the first fetch is over."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(door.keys.keep_fresh)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(WAIT_SECONDS):
            await door.keys.idle()
        yield
        tasks.cancel_scope.cancel()


class TestAnIssuerThatIsAway:
    async def test_at_start_nobody_is_signed_out(self, issuer: Issuer) -> None:
        issuer.status = 503
        async with open_door(issuer, SUPABASE_JWT_SECRET=SECRET) as door:
            await door.keys.refresh()
            with pytest.raises(SignInUnchecked) as caught:
                door.enter(ELLIPTIC.sign(claims_of(USER)))
            assert (caught.value.status, caught.value.category) == (503, None)
            assert caught.value.headers["Retry-After"]
            assert door.enter(jwt.encode(claims_of(USER), SECRET, "HS256")) == User(USER)
            door.refusal("not.a.token")
            assert "cannot be fetched" in (door.authenticator.degraded or "")
            issuer.status = 200
            await door.keys.refresh()
            assert door.enter(ELLIPTIC.sign(claims_of(USER))) == User(USER)
            assert door.authenticator.degraded is None

    async def test_known_keys_stay_good_for_a_while(self, door: Door) -> None:
        door.issuer.status = 500
        door.clock.now += STALE_SECONDS - 1
        await door.keys.refresh()
        assert door.enter(ELLIPTIC.sign(claims_of(USER))) == User(USER)
        assert "checked with those fetched before" in (door.authenticator.degraded or "")
        with pytest.raises(SignInUnchecked):  # it may be a new one
            door.enter(NEXT.sign(claims_of(USER)))
        door.clock.now += 1
        with pytest.raises(SignInUnchecked):
            door.enter(ELLIPTIC.sign(claims_of(USER)))

    @pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"[]", b"x" * (MAX_DOCUMENT_BYTES + 1)], ids=len)
    async def test_an_answer_that_is_no_key_set_changes_nothing(self, door: Door, body: bytes) -> None:
        door.issuer.body = body
        await door.keys.refresh()
        assert door.enter(ELLIPTIC.sign(claims_of(USER))) == User(USER)
        assert not door.keys.reachable

    async def test_a_redirect_is_not_followed(self, door: Door) -> None:
        with running_issuer(NEXT) as elsewhere:
            door.issuer.status, door.issuer.headers = 302, {"location": elsewhere.url}
            await door.keys.refresh()
            assert elsewhere.asked == 0
        assert not door.keys.reachable

    async def test_nothing_listens_there(self, issuer: Issuer) -> None:
        async with open_door(issuer) as door:
            with running_issuer() as gone:
                pass
            async with httpx.AsyncClient(trust_env=False) as client:
                keys = IssuerKeys(gone.url, client, door.clock)
                with capture_logs() as lines:
                    await keys.refresh()
        assert [line["event"] for line in lines] == ["auth.keys_unavailable"]
        assert not keys.reachable

    async def test_the_whole_life_of_an_authenticator(self, issuer: Issuer) -> None:
        """The first request waits for the first fetch; leaving ends a fetch that still hangs."""
        token = f"Bearer {RSA.sign(claims_of(USER))}"
        async with open_authenticator(settings(issuer)) as authenticator:
            with anyio.fail_after(WAIT_SECONDS):
                await authenticator.prepare(token)
            assert authenticator.verify(token) == User(USER)
        issuer.open.clear()
        with anyio.fail_after(WAIT_SECONDS):
            async with open_authenticator(settings(issuer)) as authenticator:
                await anyio.wait_all_tasks_blocked()

    async def test_without_an_issuer_nothing_is_fetched(self) -> None:
        own = load_settings(
            {
                "UTTER_ENV": "staging",
                "DATABASE_URL": "postgresql:///utter",
                "DASHSCOPE_API_KEY": "sk-of-nobody",
                "UTTER_SIGNING_SECRET": SECRET,
                "SUPABASE_JWT_SECRET": SECRET,
            }
        )
        async with open_authenticator(own) as authenticator:
            await authenticator.prepare(f"Bearer {ELLIPTIC.sign(claims_of(USER))}")
            with pytest.raises(Unauthorized):
                authenticator.verify(f"Bearer {ELLIPTIC.sign(claims_of(USER))}")
            assert authenticator.degraded is None


def test_the_bounds_fit_each_other() -> None:
    assert RETRY_SECONDS < REFRESH_SECONDS < STALE_SECONDS
    assert UNKNOWN_KEY_SECONDS < REFRESH_SECONDS
