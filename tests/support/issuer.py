"""Somebody who signs people in: real keys, real tokens, and a real HTTP server that publishes the public halves."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PATH = "/auth/v1/.well-known/jwks.json"


@dataclass(frozen=True)
class SigningKey:
    """A key pair as the issuer has it; `algorithm` is ES256 or RS256."""

    key_id: str
    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def algorithm(self) -> str:
        return "ES256" if isinstance(self.private, ec.EllipticCurvePrivateKey) else "RS256"

    def published(self, **changes: object) -> dict[str, Any]:
        """The JWK, changed; a change to None leaves a member out."""
        common = {"kid": self.key_id, "use": "sig", "alg": self.algorithm, "key_ops": ["verify"], "ext": True}
        return {name: value for name, value in {**common, **self._numbers(), **changes}.items() if value is not None}

    def _numbers(self) -> dict[str, Any]:
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            point = self.private.public_key().public_numbers()
            size = (self.private.curve.key_size + 7) // 8
            crv = {"secp256r1": "P-256", "secp384r1": "P-384"}[self.private.curve.name]
            return {"kty": "EC", "crv": crv, "x": _number(point.x, size), "y": _number(point.y, size)}
        numbers = self.private.public_key().public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}

    def sign(self, claims: dict[str, Any], **headers: object) -> str:
        """A token."""
        return jwt.encode(claims, self.private, self.algorithm, headers={"kid": self.key_id, **headers})


def ec_key(key_id: str, curve: ec.EllipticCurve | None = None) -> SigningKey:
    return SigningKey(key_id, ec.generate_private_key(curve or ec.SECP256R1()))


def rsa_key(key_id: str, bits: int = 2048) -> SigningKey:
    return SigningKey(key_id, rsa.generate_private_key(public_exponent=65537, key_size=bits))


def claims_of(user: UUID, **changes: Any) -> dict[str, Any]:
    """The claims of a good token, changed; a change to None leaves a claim out."""
    now = int(time.time())
    good = {"sub": str(user), "aud": "authenticated", "role": "authenticated", "iat": now, "exp": now + 3600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


@dataclass
class Issuer:
    """What the server answers, and how often it was asked. A cleared `open` holds every answer back."""

    url: str = ""
    status: int = 200
    body: bytes = b'{"keys":[]}'
    asked: int = 0
    open: threading.Event = field(default_factory=threading.Event)
    headers: dict[str, str] = field(default_factory=dict)

    def publish(self, *keys: SigningKey | dict[str, Any]) -> None:
        """These and no other."""
        entries = [key.published() if isinstance(key, SigningKey) else key for key in keys]
        self.body = json.dumps({"keys": entries}).encode()


@contextmanager
def running_issuer(*keys: SigningKey) -> Iterator[Issuer]:
    """An issuer on a port of its own."""
    issuer = Issuer()
    issuer.publish(*keys)
    issuer.open.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            issuer.open.wait(10)
            self.send_response(issuer.status if self.path == PATH else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(issuer.body)))
            for name, value in issuer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(issuer.body)

        def log_message(self, *_: object) -> None:
            """Not on the test's terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_port}{PATH}"
    try:
        yield issuer
    finally:
        issuer.open.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _number(value: int, size: int | None = None) -> str:
    raw = value.to_bytes(size or (value.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
