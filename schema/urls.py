"""Whether a text is an absolute URL, as `new URL(text)` decides it (v1 contract 1.2, `avatar_url`).

The WHATWG URL standard, cut to the yes or no: https://url.spec.whatwg.org/#url-parsing. What it accepts is wider
than RFC 3986: any scheme, backslashes for slashes, tabs and line breaks inside.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote_to_bytes

MAX_PORT = 65535

_REMOVED = dict.fromkeys(map(ord, "\t\n\r"))
_C0_AND_SPACE = "".join(map(chr, range(0x21)))
_SPECIAL = frozenset({"http", "https", "ws", "wss", "ftp"})
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<rest>.*)", re.DOTALL)
_SPECIAL_AUTHORITY = re.compile(r"[/\\]*(?P<authority>[^/\\?#]*)", re.DOTALL)
_OPAQUE_AUTHORITY = re.compile(r"//(?P<authority>[^/?#]*)", re.DOTALL)
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]*))?")
_FORBIDDEN_IN_HOST = re.compile(r"[\0\t\n\r #/:<>?@\[\\\]^|]")
_FORBIDDEN_IN_DOMAIN = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
"""What IDNA reads as a dot (RFC 3490, 3.1)."""
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


def is_absolute_url(text: str) -> bool:
    """Whether `new URL(text)` gives a URL. Hosts that only differ in how IDNA maps rare characters may differ."""
    found = _SCHEME.fullmatch(text.strip(_C0_AND_SPACE).translate(_REMOVED))
    if found is None:
        return False
    scheme, rest = found["scheme"].lower(), found["rest"]
    if scheme in _SPECIAL:
        match = _SPECIAL_AUTHORITY.match(rest)
        return match is not None and _is_authority(match["authority"], special=True)
    if scheme == "file":
        match = re.match(r"[/\\]{2}(?P<authority>[^/\\?#]*)", rest)
        return match is None or _is_file_host(match["authority"])
    match = _OPAQUE_AUTHORITY.match(rest)
    return match is None or _is_authority(match["authority"], special=False)


def _is_authority(authority: str, *, special: bool) -> bool:
    """`user:password@host:port`. Only schemes that are not special may leave the host out, and then all else too."""
    if not authority and not special:
        return True
    found = _HOST_AND_PORT.fullmatch(authority.rpartition("@")[2])
    if found is None or not found["host"]:
        return False
    if int((found["port"] or "0").lstrip("0")[:6] or "0") > MAX_PORT:  # six digits are enough to be too many
        return False
    return _is_host(found["host"], special=special)


def _is_file_host(host: str) -> bool:
    return not host or re.fullmatch(r"[A-Za-z][:|]", host) is not None or _is_host(host, special=True)


def _is_host(host: str, *, special: bool) -> bool:
    if host.startswith("["):
        return _is_ipv6(host[1:-1])
    if not special:
        return _FORBIDDEN_IN_HOST.search(host) is None
    name = _domain(host)
    if name is None:
        return False
    labels = name.removesuffix(".").split(".")
    return _is_ipv4(labels) if _NUMBER.fullmatch(labels[-1]) else True


def _domain(host: str) -> str | None:
    """The ASCII form, None when there is none."""
    try:
        name = unquote_to_bytes(host).decode("utf-8")
        name = ".".join(_ascii(label) for label in _DOTS.split(name))
    except UnicodeError:
        return None
    return name if name and _FORBIDDEN_IN_DOMAIN.search(name) is None else None


def _ascii(label: str) -> str:
    return label if label.isascii() else label.encode("idna").decode("ascii")


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return "%" not in address  # a zone is no part of a URL's host


def _is_ipv4(parts: list[str]) -> bool:
    """Up to four numbers, decimal, octal or hexadecimal; the last one fills what the others leave."""
    if not 1 <= len(parts) <= 4:
        return False
    numbers = [_number(part) for part in parts]
    if any(number is None for number in numbers):
        return False
    *first, last = (number or 0 for number in numbers)
    return all(number <= 255 for number in first) and last < 256 ** (5 - len(parts))


def _number(text: str) -> int | None:
    try:
        if text[:2].lower() == "0x":
            return int(text[2:] or "0", 16)
        return int(text, 8) if len(text) > 1 and text.startswith("0") else int(text)
    except ValueError:
        return None
