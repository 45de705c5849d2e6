"""A JSON Web Key Set, read (RFC 7517, RFC 7518): which public keys an issuer signs with, and how.

Each key is pinned to one algorithm by what it is, so that a token has no say in it. A symmetric key in a public
document is a mistake or an attack, and is never taken.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

MAX_KEYS = 50
"""Keys that are read of one set. Supabase shows the current, the next and the revoked ones of the last while."""

MIN_RSA_BITS = 2048
"""Shortest RSA key for RS256 (RFC 7518, 3.3)."""

MAX_RSA_BITS = 8192
"""Longest one. Every signature costs more with its length; issuers use 2048 to 4096."""

MAX_KEY_ID_CHARS = 200
"""Longest key id. Supabase's are UUIDs."""

P256_BYTES = 32
"""A coordinate of P-256."""

Algorithm = Literal["ES256", "RS256"]


class NoKeySet(ValueError):
    """The document is no key set."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the only algorithm that it verifies."""

    algorithm: Algorithm
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class _Key(msgspec.Struct):
    """The members that matter here of any key; a wrong type in one of them makes the key unusable."""

    kty: str
    kid: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY_ID_CHARS)]
    use: str = "sig"
    key_ops: list[str] | None = None
    alg: str | None = None
    crv: str = ""
    x: str = ""
    y: str = ""
    n: str = ""
    e: str = ""


class _KeySet(msgspec.Struct):
    keys: list[msgspec.Raw]


def parse_key_set(document: bytes) -> Mapping[str, VerificationKey]:
    """The usable keys by their id; others are left out, as RFC 7517 (5) asks. The first of two with one id counts.

    Raises NoKeySet.
    """
    try:
        entries = msgspec.json.decode(document, type=_KeySet).keys
    except (ValueError, RecursionError) as error:  # DecodeError, or text that is not UTF-8
        raise NoKeySet("no JSON object with a list of keys") from error
    found: dict[str, VerificationKey] = {}
    for entry in entries[:MAX_KEYS]:
        try:
            key = msgspec.json.decode(entry, type=_Key)
            found.setdefault(key.kid, _verification_key(key))
        except (ValueError, RecursionError, UnsupportedAlgorithm):
            continue
    return found


def _verification_key(key: _Key) -> VerificationKey:
    """Raises ValueError for a key of another kind or use, and for numbers that make no key."""
    if key.use != "sig" or (key.key_ops is not None and "verify" not in key.key_ops):
        raise ValueError("not for signatures")
    match key.kty, key.crv, key.alg:
        case "EC", "P-256", None | "ES256":
            return VerificationKey("ES256", _p256(key))
        case "RSA", _, None | "RS256":
            return VerificationKey("RS256", _rsa(key))
        case _:
            raise ValueError("not a kind that is used here")


def _p256(key: _Key) -> ec.EllipticCurvePublicKey:
    x, y = _bytes(key.x), _bytes(key.y)
    if not len(x) == len(y) == P256_BYTES:
        raise ValueError("a coordinate of the wrong length")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
    return numbers.public_key()  # ValueError for a point that is not on the curve


def _rsa(key: _Key) -> rsa.RSAPublicKey:
    modulus, exponent = int.from_bytes(_bytes(key.n)), int.from_bytes(_bytes(key.e))
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise ValueError("too short or too long")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _bytes(text: str) -> bytes:
    """Base64url without padding (RFC 7515, 2). Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
