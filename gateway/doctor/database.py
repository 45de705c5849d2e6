"""The database: can it be reached, as whom, at which schema, and does it tell us what happens?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from gateway.doctor.checkup import Check, Result, failed, ok, warning
from gateway.doctor.clock import compared
from gateway.settings import Settings
from storage import diagnosis
from storage.database import Database, Transaction
from storage.diagnosis import Trouble
from storage.errors import DatabaseUnavailable, NotMigrated
from storage.migrate import MIGRATIONS

LISTENERS = 2
"""Connections of a process beside its pool: leases and tasks are listened for on one each."""

_REMEDIES: dict[Trouble, str] = {
    Trouble.UNKNOWN_HOST: "Check the host in {name}, and the resolver of this machine.",
    Trouble.NOBODY_THERE: "Check host and port in {name}, and that the server runs.",
    Trouble.SILENT: "Check host and port in {name}, and the firewalls on the way.",
    Trouble.LOGIN_REFUSED: "Check user and password in {name}. In a password, characters other than letters and digits "
    "are written as %XX.",
    Trouble.NO_DATABASE: "Check the last part of {name}, or create that database.",
    Trouble.NOT_ENCRYPTED: "Check sslmode in {name} against what the server offers.",
    Trouble.FULL: "Lower DATABASE_MAX_CONNECTIONS or UTTER_WORKERS, or let the server take more connections.",
    Trouble.NOT_SERVING: "Wait until it has started; see the server's log when it does not.",
    Trouble.OTHER: "Try {name} with psql; see the server's log.",
}
_MIGRATE = "Run `utter migrate` with the schema owner's DATABASE_URL."


async def reachable(settings: Settings) -> Result:
    """Does it let us in?"""
    try:
        async with _open(settings) as transaction:
            login = await diagnosis.read_login(transaction)
    except DatabaseUnavailable as error:
        return _unreachable(error, "DATABASE_URL")
    return ok(f"The database lets {login.name} in.")


async def rights(settings: Settings) -> Result:
    """Are we the gateway there, and nobody more?"""
    async with _open(settings) as transaction:
        login = await diagnosis.read_login(transaction)
    if not login.is_gateway:
        return failed(
            f"The login {login.name} has not the rights of the role utter_gateway, which the gateway works with.",
            f"Run as the schema's owner: grant utter_gateway to {login.name};"
            if login.is_gateway is not None
            else f"The role is made by the migrations. {_MIGRATE}",
        )
    if login.is_superuser or login.bypasses_policies:
        return warning(
            f"The login {login.name} may do anything: row level security, which keeps users apart, does not hold for "
            "it.",
            "Make a login of its own for the gateway, grant it utter_gateway and nothing else, and put it into "
            "DATABASE_URL.",
        )
    return ok(f"{login.name} works with the rights of utter_gateway.")


async def connections(settings: Settings) -> Result:
    """Are there enough for what we may open?"""
    async with _open(settings) as transaction:
        login = await diagnosis.read_login(transaction)
    wanted = settings.workers * (settings.database_max_connections + LISTENERS)
    there = login.connections if login.own_connections is None else min(login.connections, login.own_connections)
    if wanted > there:
        return warning(
            f"This instance may open {wanted} connections, and the server has {there} for this login.",
            "Lower DATABASE_MAX_CONNECTIONS or UTTER_WORKERS, or let the server take more.",
        )
    return ok(f"This instance may open {wanted} of the {there} connections that the server has for this login.")


async def migrations(settings: Settings) -> Result:
    """Is the schema the one this version was written for?"""
    names = sorted(file.name for file in MIGRATIONS.glob("*.sql"))
    try:
        async with _open(settings) as transaction:
            applied = set(await diagnosis.applied_migrations(transaction))
    except NotMigrated:
        return failed(f"The database is not at this version's schema: it lacks {names[-1]} at least.", _MIGRATE)
    pending = [name for name in names if name.partition("_")[0] not in applied]
    if pending:
        return failed(f"The database lacks {', '.join(pending)}.", _MIGRATE)
    unknown = sorted(applied - {name.partition("_")[0] for name in names})
    if unknown:
        return warning(
            f"The database has migrations that this version does not know: {', '.join(unknown)}.",
            "That is right while an older version is run on purpose; else start the newer one.",
        )
    return ok(f"All {len(names)} migrations are applied.")


async def notifications(settings: Settings) -> Result:
    """Are we told what others do? A transaction pooler passes nothing on."""
    url, listen_url = settings.database_url, settings.database_listen_url
    try:
        heard = await diagnosis.hears(listen_url, url)
        pooled = await diagnosis.shares_connections(url)
        listens_pooled = pooled if listen_url == url else await diagnosis.shares_connections(listen_url)
    except DatabaseUnavailable as error:
        return _unreachable(error, "DATABASE_LISTEN_URL")
    if listens_pooled:
        name = "DATABASE_URL" if listen_url == url else "DATABASE_LISTEN_URL"
        return failed(
            f"{name} goes through a transaction pooler, which passes no notifications on and keeps no sessions.",
            "Set DATABASE_LISTEN_URL to a direct connection to the same database.",
        )
    if not heard:
        return failed(
            "What is told at DATABASE_URL is not heard at DATABASE_LISTEN_URL: they are not the same database.",
            "Set DATABASE_LISTEN_URL to a direct connection to the database of DATABASE_URL.",
        )
    if pooled:
        return ok("DATABASE_URL goes through a transaction pooler, DATABASE_LISTEN_URL does not, as it should be.")
    return ok("Notifications come through.")


async def clock(settings: Settings) -> Result:
    """Does the database's clock agree with ours?"""
    async with _open(settings) as transaction:
        before = datetime.now(UTC)
        theirs = await diagnosis.read_clock(transaction)
        after = datetime.now(UTC)
    return compared("the database", theirs, before, after)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Transaction]:
    """Without prepared statements: whether a pooler is on the way is only being found out."""
    async with (
        Database.open(settings.database_url, max_connections=1, statement_cache_size=0) as database,
        database.as_service() as transaction,
    ):
        yield transaction


def _unreachable(error: DatabaseUnavailable, name: str) -> Result:
    trouble = diagnosis.trouble_of(error)
    return failed(f"The database of {name} cannot be used: {trouble.value}.", _REMEDIES[trouble].format(name=name))


CHECKS = (
    Check("database", reachable),
    Check("database.rights", rights, needs="database"),
    Check("database.connections", connections, needs="database"),
    Check("database.migrations", migrations, needs="database"),
    Check("database.notifications", notifications, needs="database"),
    Check("database.clock", clock, needs="database"),
)
