"""Who is really asking, and under which name we were reached.

Behind a proxy the socket's peer is the proxy. Forwarded headers are believed only when that peer is on the list of
trusted proxies: anybody else could write them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Bind:
    """Where to listen: an address or name of this machine, and a port; 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Bind:
        """`127.0.0.1:9100`, `[::1]:9100`. Raises ValueError."""
        parts = urlsplit(f"//{text}")
        if not parts.hostname or parts.port is None or parts.netloc != text or "@" in text:
            raise ValueError("not an address and a port")
        return cls(parts.hostname, parts.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_HOST = re.compile(r"^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?$")
"""A Host header that is safe to build a link from (RFC 9110, 7.2, without the forms nobody uses)."""

_PRIVATE_ENDINGS = frozenset({"localhost", "local", "internal", "test", "invalid", "alt", "lan", "home", "arpa"})


def is_loopback_host(host: str) -> bool:
    """Whether `host`, a name or an address without port, is this machine. No name is looked up."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def is_public_host(host: str) -> bool:
    """Whether somebody on the internet may reach `host`, a name or an address without port. No name is looked up.

    A name without a dot, and the endings that never leave a network (RFC 6761, RFC 6762, RFC 9476, ICANN's
    `.internal`), are private.
    """
    name = host.strip("[]").rstrip(".").lower()
    try:
        return ipaddress.ip_address(name).is_global
    except ValueError:
        return "." in name and name.rpartition(".")[2] not in _PRIVATE_ENDINGS


def is_trusted_proxy(scope: Scope, trusted_proxies: Sequence[Network]) -> bool:
    """Whether the request's socket comes from a proxy whose headers are believed."""
    peer = scope.get("client")
    if peer is None:
        return False
    try:
        address = ipaddress.ip_address(peer[0])
    except ValueError:
        return False
    return any(address in network for network in trusted_proxies if network.version == address.version)


def public_base_url(scope: Scope, configured: str, trusted_proxies: Sequence[Network]) -> str:
    """Scheme, host and port under which the client reached us, for links in answers. No trailing slash.

    `configured` (PUBLIC_BASE_URL) wins. Otherwise the Host header, or what a trusted proxy forwards: X-Forwarded-Proto,
    X-Forwarded-Host, and X-Forwarded-Port where the host has none (v1 contract 1.0). A malformed host falls back to
    the address of the socket.
    """
    if configured:
        return configured
    headers = Headers(scope=scope)
    scheme, host = scope.get("scheme", "http"), headers.get("host", "")
    if is_trusted_proxy(scope, trusted_proxies):
        scheme, host = _forwarded(headers, scheme, host)
    if not _HOST.match(host):
        host = _socket_address(scope)
    return f"{scheme}://{host}"


def _forwarded(headers: Headers, scheme: str, host: str) -> tuple[str, str]:
    proto = _first(headers.get("x-forwarded-proto", "")).lower()
    if proto in {"http", "https"}:
        scheme = proto
    host = _first(headers.get("x-forwarded-host", "")) or host
    port = _first(headers.get("x-forwarded-port", ""))
    match = _HOST.match(host)
    default_port = "443" if scheme == "https" else "80"
    if match and match["port"] is None and port.isdecimal() and port != default_port:
        host = f"{host}:{port}"
    return scheme, host


def _first(value: str) -> str:
    """The entry of a comma list that the proxy nearest to the client wrote."""
    return value.split(",", 1)[0].strip()


def _socket_address(scope: Scope) -> str:
    host, port = scope.get("server") or ("localhost", None)
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host


def may_sign_itself_in(scope: Scope, bind_host: str) -> bool:
    """Whether this request may be handed a development token.

    Everything must be this machine: where we listen, who asks, and the name in `Host`; the last defeats DNS
    rebinding, where a foreign page reaches a local port under the page's own name. A page of another origin that
    names itself is refused as well.
    """
    headers = Headers(scope=scope)
    peer = scope.get("client")
    host = headers.get("host", "")
    if not (is_loopback_host(bind_host) and peer is not None and is_loopback_host(peer[0])):
        return False
    if not (_HOST.match(host) and is_loopback_host(urlsplit(f"//{host}").hostname or "")):
        return False
    return _same_origin(headers, scope.get("scheme", "http"), host)


def _same_origin(headers: Headers, scheme: str, host: str) -> bool:
    origin = headers.get("origin")
    if origin is not None and origin != f"{scheme}://{host}":
        return False
    # Browsers say so themselves (Fetch Metadata); other clients send nothing. "none" is a typed-in address.
    return headers.get("sec-fetch-site", "none") in {"same-origin", "none"}
