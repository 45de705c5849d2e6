"""What the head of a request may be."""

from __future__ import annotations

import h11
import pytest

from gateway.request_head import MAX_REQUEST_HEAD_BYTES, MAX_REQUEST_HEADERS, StrictConnection

HOST = b"Host: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 3\r\n"


def read(*parts: bytes) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
    connection = StrictConnection(MAX_REQUEST_HEAD_BYTES)
    for part in parts:
        connection.receive_data(part)
        event = connection.next_event()
    return event


def request(headers: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST /api/generate HTTP/" + version + b"\r\n" + headers + b"\r\n"


def filled(head_bytes: int) -> bytes:
    """A request whose head has so many bytes, beside the two line ends behind it."""
    filler = HOST + b"X-Filler: "
    return request(filler + b"a" * (head_bytes - len(request(filler)) + 1) + b"\r\n")


@pytest.mark.parametrize(
    "headers", [HOST, HOST + LENGTH, HOST + CHUNKED, HOST + LENGTH + LENGTH, HOST + b"X: " + b"y" * 8000 + b"\r\n"]
)
def test_an_ordinary_request_is_read(headers: bytes) -> None:
    assert isinstance(read(request(headers)), h11.Request)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request(HOST + CHUNKED + LENGTH), 400),
        (request(HOST + LENGTH + CHUNKED), 400),
        (request(HOST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n"), 400),
        (request(HOST + LENGTH + b"Content-Length: 4\r\n"), 400),
        (request(HOST + b"Content-Length: +3\r\n"), 400),
        (request(HOST + b"Content-Length: 3, 4\r\n"), 400),
        (request(HOST + b"Transfer-Encoding: gzip, chunked\r\n"), 501),
        (request(HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 501),
        (request(HOST + b"Transfer-Encoding : chunked\r\n"), 400),
        (request(CHUNKED, b"1.0"), 400),
        (request(b""), 400),
        (request(HOST + HOST), 400),
        (request(HOST + b"X: a\x00b\r\n"), 400),
        (request(HOST + b"X: a\rb\r\n"), 400),
        (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
    ids=lambda value: value[-60:].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_what_two_servers_might_read_in_two_ways_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(h11.RemoteProtocolError) as refused:
        read(head)
    assert refused.value.error_status_hint == status


def test_a_refusal_stands() -> None:
    connection = StrictConnection(MAX_REQUEST_HEAD_BYTES)
    connection.receive_data(request(HOST + CHUNKED + LENGTH))
    for _ in range(2):
        with pytest.raises(h11.RemoteProtocolError):
            connection.next_event()
        connection.receive_data(request(HOST))


def test_a_head_has_its_limit_however_it_arrives() -> None:
    endless = [filled(3 * MAX_REQUEST_HEAD_BYTES)[: MAX_REQUEST_HEAD_BYTES - 1], b"a", b"a"]
    for parts in ([filled(MAX_REQUEST_HEAD_BYTES + 1)], endless):
        with pytest.raises(h11.RemoteProtocolError) as refused:
            read(*parts)
        assert refused.value.error_status_hint == 431
    assert isinstance(read(filled(MAX_REQUEST_HEAD_BYTES)), h11.Request)


def test_headers_are_counted() -> None:
    assert isinstance(read(request(HOST + b"a: b\r\n" * (MAX_REQUEST_HEADERS - 1))), h11.Request)
    with pytest.raises(h11.RemoteProtocolError) as refused:
        read(request(HOST + b"a: b\r\n" * MAX_REQUEST_HEADERS))
    assert refused.value.error_status_hint == 431


def test_what_follows_a_request_is_not_its_head() -> None:
    connection = StrictConnection(MAX_REQUEST_HEAD_BYTES)
    connection.receive_data(request(HOST + b"Content-Length: 30000\r\n") + b"\n" * 30000 + request(HOST))
    assert isinstance(connection.next_event(), h11.Request)
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
    assert connection.next_event() is h11.PAUSED
