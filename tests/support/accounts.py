"""Supabase's sign-in as a page uses it: real passwords, real tokens, refresh tokens that work once.

The answers are those of Supabase Auth: `POST /auth/v1/token` with `grant_type` password or refresh_token, `POST
/auth/v1/logout`, and the public keys. Any page may ask, as there.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from tests.support.issuer import PATH as KEYS_PATH
from tests.support.issuer import SigningKey, claims_of, ec_key

ANON_KEY = "the-public-key-of-a-project"
EMAIL, PASSWORD = "ada@example.org", "correct horse battery staple"

CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "apikey, authorization, content-type, x-client-info",
    "access-control-allow-methods": "GET, POST, OPTIONS",
}

Answer = tuple[int, dict[str, Any] | None]


@dataclass
class Accounts:
    """One project with one user, whom `user` names.

    `trouble` is answered to every request for a token, instead of one; `lifetime` is that of access tokens, seconds.
    """

    user: UUID
    key: SigningKey = field(default_factory=lambda: ec_key("project"))
    url: str = ""
    lifetime: int = 3600
    trouble: Answer | None = None
    granted: list[str] = field(default_factory=list)
    signed_out: list[str] = field(default_factory=list)
    refresh_tokens: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """End every session there is: no refresh token works any more."""
        self.refresh_tokens.clear()

    def grant(self, kind: str, sent: dict[str, Any]) -> Answer:
        """What a request for a token is answered."""
        if self.trouble is not None:
            return self.trouble
        if kind == "password" and (sent.get("email"), sent.get("password")) == (EMAIL, PASSWORD):
            return self._token(kind)
        if kind == "password":
            return _refused("invalid_credentials", "Invalid login credentials")
        if sent.get("refresh_token") in self.refresh_tokens:
            self.refresh_tokens.remove(sent["refresh_token"])
            return self._token(kind)
        return _refused("refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")

    def _token(self, kind: str) -> Answer:
        self.granted.append(kind)
        claims = claims_of(self.user, email=EMAIL)
        claims["exp"] = claims["iat"] + self.lifetime
        refresh = secrets.token_urlsafe(12)
        self.refresh_tokens.add(refresh)
        return 200, {
            "access_token": self.key.sign(claims),
            "token_type": "bearer",
            "expires_in": self.lifetime,
            "expires_at": claims["exp"],
            "refresh_token": refresh,
            "user": {"id": str(self.user), "aud": "authenticated", "role": "authenticated", "email": EMAIL},
        }


def _refused(code: str, message: str) -> Answer:
    return 400, {"code": 400, "error_code": code, "msg": message}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def accounts(self) -> Accounts:
        return cast("_Server", self.server).accounts

    def do_OPTIONS(self) -> None:
        self._answer(204, None)

    def do_GET(self) -> None:
        keys = {"keys": [self.accounts.key.published()]}
        self._answer(*((200, keys) if self.path == KEYS_PATH else (404, None)))

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("apikey") != ANON_KEY:
            self._answer(401, {"message": "Invalid API key"})
        elif address.path == "/auth/v1/token":
            (kind,) = parse_qs(address.query)["grant_type"]
            self._answer(*self.accounts.grant(kind, json.loads(sent)))
        elif address.path == "/auth/v1/logout":
            self.accounts.signed_out.append(address.query)
            self.accounts.forget()
            self._answer(204, None)
        else:
            self._answer(404, None)

    def _answer(self, status: int, content: dict[str, Any] | None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in CORS.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not on the test's terminal."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        super().__init__(("127.0.0.1", 0), _Handler)


@contextmanager
def running_accounts(user: UUID) -> Iterator[Accounts]:
    """The project's sign-in on a port of its own."""
    accounts = Accounts(user)
    with _Server(accounts) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        accounts.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield accounts
        finally:
            server.shutdown()
            thread.join()
