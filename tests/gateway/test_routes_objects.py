"""Signed reads of stored objects (product section 9)."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.exchange import Exchange
from tests.support.gateway import Gateway

pytestmark = pytest.mark.integration

AUDIO = bytes(range(200)) * 1000


async def read(
    gateway: Gateway,
    key: str,
    *,
    signed: str | None = None,
    method: str = "GET",
    ttl: float = 60,
    headers: dict[str, str] | None = None,
) -> Exchange:
    token = gateway.services.signer.sign("object", signed or f"generations/{key}", ttl)
    return await gateway.ask(method, f"/api/objects/generations/{key}?token={token}", headers)


@pytest.mark.anyio
async def test_a_link_can_be_fetched_again_whole_and_in_parts(gateway: Gateway) -> None:
    key = f"{uuid4()}/{uuid4()}.mp3"
    await gateway.services.objects.put("generations", key, AUDIO, "audio/mpeg")
    for _ in range(2):
        whole = await read(gateway, key)
        assert (whole.status, whole.body, whole.complete) == (200, AUDIO, True)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "audio/mpeg"
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await read(gateway, key, headers={"range": "bytes=1000-150999"})
    assert (part.status, part.body) == (206, AUDIO[1000:151_000])
    assert (await read(gateway, key, headers={"range": "bytes=200000-"})).status == 416
    head = await read(gateway, key, method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "200000")
    assert (await read(gateway, key, headers={"if-none-match": whole.headers["etag"]})).status == 304


@pytest.mark.anyio
async def test_an_empty_object(gateway: Gateway) -> None:
    key = f"{uuid4()}/empty.mp3"
    await gateway.services.objects.put("generations", key, b"", "audio/mpeg")
    answer = await read(gateway, key)
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


@pytest.mark.anyio
async def test_a_link_is_for_one_object(gateway: Gateway) -> None:
    key, other = f"{uuid4()}/a.mp3", f"{uuid4()}/b.mp3"
    for name in (key, other):
        await gateway.services.objects.put("generations", name, AUDIO, "audio/mpeg")
    assert (await read(gateway, key, signed=f"generations/{other}")).status == 401
    assert (await read(gateway, key, signed=f"references/{key}")).status == 401
    assert (await read(gateway, key, ttl=-1)).status == 401
    assert (await gateway.ask("GET", f"/api/objects/generations/{key}")).status == 401


@pytest.mark.anyio
async def test_a_signed_link_to_nothing_is_404(gateway: Gateway) -> None:
    assert (await read(gateway, f"{uuid4()}/missing.mp3")).status == 404


@pytest.mark.anyio
@pytest.mark.parametrize(
    "key", ["x.mp3", "../generations/x.mp3", f"{uuid4()}/../../secrets.json", f"{uuid4()}//x", "%00"]
)
async def test_even_a_signature_cannot_name_anything_else(gateway: Gateway, key: str) -> None:
    assert (await read(gateway, key)).status in {401, 404}
