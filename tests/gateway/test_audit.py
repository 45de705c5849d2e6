"""The auditor finds each kind of disagreement, and nothing where all is well."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.audit import REMEDY, Finding, Kind, audit
from storage import audit as audit_queries
from storage.audio_spool import SpooledAudio, SpoolFolder
from tests.support.gateway import Caller, Gateway
from tests.support.rows import completion

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def look(gateway: Gateway, *, digests: bool = True) -> list[Finding]:
    services = gateway.services
    found = audit(services.database, services.objects, services.settings.spool_dir, digests=digests)
    return [one async for one in found]


async def kinds(gateway: Gateway, *, digests: bool = True) -> list[Kind]:
    return [one.kind for one in await look(gateway, digests=digests)]


async def stored(ada: Caller, audio: bytes = b"audio") -> tuple[str, str]:
    """Id and key of a completed generation."""
    new = await ada.add_generation()
    await ada.complete(new, audio)
    return str(new.generation_id), f"{ada.id}/{new.generation_id}.mp3"


def file_of(gateway: Gateway, key: str) -> Path:
    return Path(gateway.services.settings.objects_url) / "generations" / key


async def test_every_kind_has_a_remedy() -> None:
    assert REMEDY.keys() == set(Kind)


async def test_nothing_where_all_is_well(gateway: Gateway, ada: Caller) -> None:
    await stored(ada)
    voice = await ada.add_voice()
    await ada.generate(voice.id)  # it runs
    assert set(await kinds(gateway)) == {Kind.RECORDING_MISSING}, "the voices of these tests have no recordings"


async def test_audio_that_is_gone_cut_or_altered(gateway: Gateway, ada: Caller) -> None:
    gone, cut, altered = [await stored(ada) for _ in range(3)]
    file_of(gateway, gone[1]).unlink()
    file_of(gateway, cut[1]).write_bytes(b"aud")
    file_of(gateway, altered[1]).write_bytes(b"other")
    found = {one.subject: one.kind for one in await look(gateway)}
    assert found.pop(gone[0]) is Kind.AUDIO_MISSING
    assert found.pop(cut[0]) is Kind.AUDIO_DIFFERS
    assert found.pop(altered[0]) is Kind.AUDIO_DIFFERS
    assert Kind.AUDIO_DIFFERS in await kinds(gateway, digests=False), "a size is compared in any case"


async def test_audio_without_a_row_once_it_is_old(gateway: Gateway, ada: Caller) -> None:
    _, key = await stored(ada)
    gateway.database.run("delete from public.generations")
    assert Kind.AUDIO_WITHOUT_ROW not in await kinds(gateway)
    os.utime(file_of(gateway, key), (0, 0))
    assert [one.subject for one in await look(gateway) if one.kind is Kind.AUDIO_WITHOUT_ROW] == [key]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("update utter.leases set until = now() - interval '1 hour'", Kind.TASK_LEASE_OVER),
        ("delete from utter.leases", Kind.TASK_NO_LEASE),
        ("update public.generations set status = 'failed'", Kind.TASK_GENERATION_ENDED),
        ("delete from public.tasks", Kind.GENERATION_STRANDED),
    ],
)
async def test_work_that_nobody_does(gateway: Gateway, ada: Caller, damage: str, kind: Kind) -> None:
    await ada.generate((await ada.add_voice()).id)
    gateway.database.run("alter table public.tasks disable trigger user")
    gateway.database.run("update public.tasks set updated_at = now() - interval '1 hour'")
    gateway.database.run(damage)
    assert kind in await kinds(gateway)


async def test_the_spool_is_part_of_it(gateway: Gateway, ada: Caller) -> None:
    folder = SpoolFolder.create(gateway.services.settings.spool_dir, uuid4())
    running, ended = await ada.add_generation(), await ada.add_generation()
    await ada.complete(ended, b"audio")
    for new in (running, ended):
        folder.put(SpooledAudio(owner=ada.id, epoch=1, spooled_at=1.0, done=completion(new)), b"not what was made")
    found = {one.subject: one.kind for one in await look(gateway)}
    assert found[str(running.generation_id)] is Kind.SPOOLED_DIFFERS
    assert found[str(ended.generation_id)] is Kind.SPOOLED_NOT_WANTED
    folder.close()


async def test_it_reads_a_history_of_any_length(gateway: Gateway, ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_queries, "PAGE_ROWS", 2)
    ids = {(await stored(ada))[0] for _ in range(5)}
    for path in file_of(gateway, str(ada.id)).iterdir():
        path.unlink()
    assert {one.subject for one in await look(gateway) if one.kind is Kind.AUDIO_MISSING} == ids
