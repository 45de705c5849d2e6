"""`utter usage`: what each user used on each day, as the provider bills it (product sections 8 and 16)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import msgspec
import typer

from gateway.cli.deployment import AS_JSON, DEPLOYMENT, find_settings, run
from gateway.cli.target import fail

if TYPE_CHECKING:  # they bring the whole gateway along
    from gateway.settings import Settings
    from schema.records import UsageRow

COLUMNS = {
    "day": 10,
    "user_id": 36,
    "generations": 11,
    "characters": 10,
    "clones": 6,
    "designs": 7,
    "unknown_creates": 15,
}
"""Fields of a row, and how many characters each takes."""

COUNTS = ("generations", "characters", "clones", "designs", "unknown_creates")


class Totals(msgspec.Struct, frozen=True):
    """Of all rows. `creates_usd` is what the clones and designs cost at the prices of the settings."""

    generations: int
    characters: int
    clones: int
    designs: int
    unknown_creates: int
    creates_usd: float


class UsageReport(msgspec.Struct, frozen=True):
    """Both days are included."""

    from_day: date
    until_day: date
    rows: list[UsageRow]
    totals: Totals


def usage(
    from_day: Annotated[
        str | None, typer.Option("--from", help="First day (UTC), as 2026-01-31. Default: the first of the month.")
    ] = None,
    until_day: Annotated[str | None, typer.Option("--until", help="Last day (UTC), included. Default: today.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's, by id.")] = None,
    as_json: AS_JSON = False,
    data_dir: DEPLOYMENT = None,
) -> None:
    """Show what each user used on each day: generations, characters and creates that the provider bills.

    utter usage --from 2026-01-01 --until 2026-01-31

    utter usage --json | jq '.totals'

    `unknown_creates` may have been billed: nobody heard. Modal counts no characters. Exit status 0; 1 when the database
    cannot be read.
    """
    today = datetime.now(UTC).date()
    last = _day("--until", until_day) or today
    first = _day("--from", from_day) or last.replace(day=1)
    if first > last:
        fail(f"{first} is after {last}. Give a --from that is not after --until.")
    owner = _user(user)
    settings = find_settings(data_dir)
    rows = run(lambda given: _read(given, first, last, owner), settings)
    report = UsageReport(first, last, rows, _totals(rows, settings))
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    _show(report)


def _day(option: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no day. Give {option} as 2026-01-31.")


def _user(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        fail(f"{text!r} is not a user id. It must be a UUID.")


async def _read(settings: Settings, first: date, last: date, user_id: UUID | None) -> list[UsageRow]:
    from storage import upkeep
    from storage.database import Database

    async with (
        Database.open(settings.database_url, max_connections=1) as database,
        database.as_service() as transaction,
    ):
        return await upkeep.usage(transaction, from_day=first, until_day=last + timedelta(days=1), user_id=user_id)


def _totals(rows: list[UsageRow], settings: Settings) -> Totals:
    sums = {name: sum(getattr(row, name) for row in rows) for name in COUNTS}
    cost = sums["clones"] * settings.clone_price_usd + sums["designs"] * settings.design_price_usd
    return Totals(**sums, creates_usd=round(cost, 4))


def _show(report: UsageReport) -> None:
    # Columns of text, not a fitted table: an id is there to be copied, also from a narrow terminal.
    for row in ({name: name for name in COLUMNS}, *map(msgspec.structs.asdict, report.rows)):
        typer.echo("  ".join(_cell(name, row[name]) for name in COLUMNS).rstrip())
    totals = report.totals
    typer.echo(
        f"{report.from_day} to {report.until_day}: {totals.generations} generations, {totals.characters} characters, "
        f"{totals.clones} clones and {totals.designs} designs ({totals.creates_usd:.2f} USD), "
        f"{totals.unknown_creates} creates of which nobody knows.",
        err=True,
    )


def _cell(name: str, value: object) -> str:
    """Numbers are right-aligned below their names."""
    return str(value).rjust(COLUMNS[name]) if name in COUNTS else str(value).ljust(COLUMNS[name])
