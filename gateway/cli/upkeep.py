"""`utter voices migrate` and `purge`: voices of users, put in order by an operator (product section 16)."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import msgspec
import typer

from gateway.cli.deployment import AS_JSON, DEPLOYMENT, find_settings, run
from gateway.cli.target import fail

if TYPE_CHECKING:  # they bring the whole gateway along
    from gateway.purging import Purged
    from gateway.settings import Settings
    from gateway.studio.moving import Moved, MovePlan
    from schema.records import PurgeableVoice, VoiceOutline

STATE_WIDTH = 14
"""Column of what became of a voice, characters; ids are 36."""

AGE = re.compile(r"(\d{1,5})(d|h)")
UNIT_SECONDS = {"d": 86_400.0, "h": 3600.0}

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


class MoveReport(msgspec.Struct, frozen=True):
    """`usd` is the price of what was to be made. `counts` is by `standing`."""

    provider: str
    usd: float
    usable: int
    counts: dict[str, int]
    voices: list[Moved]


class PurgeReport(msgspec.Struct, frozen=True):
    """`purged` of `found` are gone."""

    found: int
    purged: int
    voices: list[Purged]


def migrate(
    user: Annotated[str | None, typer.Option(help="Only this user's voices, by id.")] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="The voices of all users.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many in this run.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AS_JSON = False,
    data_dir: DEPLOYMENT = None,
) -> None:
    """Make voices of the other provider again at the active one, from their recordings; the old ones stay.

    utter voices migrate --everybody --dry-run

    utter voices migrate --user 5a17e000-0000-4000-8000-000000000001 --yes --json

    The price comes first. What was made before, here or by its user, is not made again: a run that was interrupted
    is simply run again. Exit status 0 when all that could be made was; 1 when one failed or was not begun.
    """
    from gateway.studio.moving import Moved, Standing

    owner = _owner(user, everybody=everybody)
    settings = _quiet_settings(data_dir)
    plan = run(lambda given: _plan(given, owner), settings)
    voices = plan.to_make[:limit]
    price = settings.clone_price_usd if settings.provider_mode == "qwen" else 0.0
    usd = round(price * len(voices), 4)
    for moved in () if as_json else plan.cannot:
        typer.echo(_moved_line(moved))
    typer.echo(_price(settings, plan, voices, usd), err=True)
    todo = [Moved(voice.id, voice.user_id, Standing.TO_MAKE) for voice in voices]
    if dry_run:
        for moved in () if as_json else todo:
            typer.echo(_moved_line(moved))
    elif voices:
        _check_room(settings, len(voices))
        _confirm("Make them?", "Nothing was made.", yes=yes)
        todo = run(lambda given: _move(given, voices, as_json=as_json), settings)
    report = [*plan.cannot, *todo]
    counts = Counter(moved.standing.value for moved in report)
    if as_json:
        document = MoveReport(settings.provider_mode.value, usd, plan.usable, dict(counts), report)
        typer.echo(msgspec.json.encode(document).decode())
    typer.echo(", ".join(f"{count} {standing}" for standing, count in counts.items()) or "Nothing to do.", err=True)
    raise typer.Exit(1 if counts[Standing.FAILED] or counts[Standing.NOT_BEGUN] else 0)


def purge(
    older_than: Annotated[str, typer.Option(help="Deleted longer ago than this: 30d, 12h.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AS_JSON = False,
    data_dir: DEPLOYMENT = None,
) -> None:
    """End voices that their users deleted, with their recordings, for good. Until then they can be restored.

    utter voices purge --older-than 30d --dry-run

    utter voices purge --older-than 30d --yes --json

    What was spoken with them stays. What the provider keeps of them is listed by `utter orphans` then. Exit status 0
    when all are gone; 1 when one is not, and will be tried again by the next run.
    """
    seconds = _seconds(older_than)
    settings = _quiet_settings(data_dir)
    found = run(lambda given: _purgeable(given, seconds), settings)
    typer.echo(f"{len(found)} voices were deleted more than {older_than} ago.", err=True)
    done: list[Purged] = []
    if dry_run:
        for voice in () if as_json else found:
            typer.echo(_columns("to be purged", voice.id, voice.user_id, f"deleted {voice.deleted_at:%Y-%m-%d}"))
    elif found:
        _confirm("End them, with their recordings, for good?", "Nothing was purged.", yes=yes)
        done = run(lambda given: _purge(given, found, seconds, as_json=as_json), settings)
    purged = sum(one.purged for one in done)
    if as_json:
        typer.echo(msgspec.json.encode(_purge_report(found, done)).decode())
    if done:
        typer.echo(f"{purged} of {len(found)} purged.", err=True)
    raise typer.Exit(0 if purged == len(done) else 1)


def _purge_report(found: list[PurgeableVoice], done: list[Purged]) -> PurgeReport:
    from gateway.purging import Purged

    rows = done or [Purged(voice.id, voice.user_id, False) for voice in found]
    return PurgeReport(len(found), sum(one.purged for one in done), rows)


def _owner(user: str | None, *, everybody: bool) -> UUID | None:
    if (user is None) != everybody:
        fail("Whose voices? Give either --user ID or --everybody.")
    try:
        return None if user is None else UUID(user)
    except ValueError:
        fail(f"{user!r} is not a user id. It must be a UUID.")


def _seconds(age: str) -> float:
    found = AGE.fullmatch(age)
    if found is None:
        fail(f"{age!r} is no age. Give --older-than in days or hours, as 30d or 12h.")
    return int(found[1]) * UNIT_SECONDS[found[2]]


def _quiet_settings(data_dir: DEPLOYMENT) -> Settings:
    """The voices are what is to be read; steps of the drivers are not."""
    from gateway.logs import configure_logging
    from gateway.settings.names import LogLevel

    settings = find_settings(data_dir)
    configure_logging(replace(settings, log_level=LogLevel.WARNING))
    return settings


def _price(settings: Settings, plan: MovePlan, voices: list[VoiceOutline], usd: float) -> str:
    later = len(plan.to_make) - len(voices)
    more = f" {later} more are left for another run." if later else ""
    return (
        f"{len(voices)} voices are to be made at {settings.provider_mode}, for {usd:.2f} USD; {plan.usable} need "
        f"nothing, {len(plan.cannot)} cannot be made.{more}"
    )


def _check_room(settings: Settings, wanted: int) -> None:
    """An account that fills up half-way is noticed before anything is paid for."""
    if settings.provider_mode != "qwen":
        return
    from gateway.cli.provider import ACCOUNT_VOICES, KINDS, read_voices

    room = ACCOUNT_VOICES - len(run(lambda given: read_voices(given, KINDS), settings))
    if room < wanted:
        fail(f"The account has room for {room} more voices. `utter orphans` lists unused ones; --limit makes fewer.")


def _confirm(question: str, otherwise: str, *, yes: bool) -> None:
    if yes:
        return
    # Not click's prompt, which writes to standard output: that belongs to --json.
    typer.echo(f"{question} [y/N] ", err=True, nl=False)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        fail(f"{otherwise} Answer y, or give --yes.")


async def _plan(settings: Settings, owner: UUID | None) -> MovePlan:
    from gateway.studio.moving import plan_move
    from storage.database import Database

    async with Database.open(settings.database_url, max_connections=1) as database:
        return await plan_move(settings, database, owner)


async def _move(settings: Settings, voices: list[VoiceOutline], *, as_json: bool) -> list[Moved]:
    from gateway.studio.moving import move
    from storage.database import Database

    async with Database.open(settings.database_url, max_connections=2) as database:
        return await move(settings, database, voices, lambda moved: typer.echo(_moved_line(moved), err=as_json))


async def _purgeable(settings: Settings, seconds: float) -> list[PurgeableVoice]:
    from gateway.purging import purgeable
    from storage.database import Database

    async with Database.open(settings.database_url, max_connections=1) as database:
        return await purgeable(database, seconds=seconds)


async def _purge(settings: Settings, voices: list[PurgeableVoice], seconds: float, *, as_json: bool) -> list[Purged]:
    from gateway.purging import purge
    from storage.database import Database
    from storage.objects import ObjectStore

    objects = ObjectStore.open(settings.objects_url)
    async with Database.open(settings.database_url, max_connections=1) as database:
        return await purge(
            database,
            objects,
            voices,
            seconds=seconds,
            tell=lambda one: typer.echo(_purged_line(one), err=as_json),
        )


def _moved_line(moved: Moved) -> str:
    made = f"as {moved.made_id}" if moved.made_id else ""
    return _columns(moved.standing.value, moved.voice_id, moved.user_id, made, moved.detail, moved.remedy)


def _purged_line(one: Purged) -> str:
    return _columns("purged" if one.purged else "left", one.voice_id, one.user_id, one.detail, one.remedy)


def _columns(state: str, voice: UUID, user: UUID, *words: str) -> str:
    """Columns of text, not a fitted table: an id is there to be copied, also from a narrow terminal."""
    return "  ".join((state.ljust(STATE_WIDTH), f"voice {voice}", f"user {user}", *filter(None, words)))
