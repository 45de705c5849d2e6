"""What the database can answer that callers must handle, and the one place where asyncpg's errors become ours.

Constraints are told apart by name, never by message: the names are in `schema/migrations`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

ONE_ACTIVE_GENERATE = "idx_tasks_generate_one_active_per_user"
"""The unique index that allows one active `generate` task per user (contract 3.2)."""

UNIQUE_HANDLE = "profiles_handle_key"
"""One handle, one profile (contract 3.1)."""

ONE_REQUEST_A_KEY = "idempotency_keys_pkey"
"""A user's idempotency key is bound once."""

USER_KEYS = frozenset(
    {
        "profiles_id_fkey",
        "voices_user_id_fkey",
        "generations_user_id_fkey",
        "tasks_user_id_fkey",
        "idempotency_keys_user_id_fkey",
    }
)
"""The foreign keys on `auth.users` (contract 3.1)."""


class StorageError(Exception):
    """A fact about stored data or its store, for the caller to handle. Abstract."""


class DatabaseUnavailable(StorageError):
    """No connection, no free connection in time, or no answer in time. Trying again later can help."""


class ActiveTaskExists(StorageError):
    """The user already has a `generate` task that is pending or processing."""


class RequestKeyTaken(StorageError):
    """The user's idempotency key is bound already: the same request was sent twice, or another one by the same key."""


class LeaseLost(StorageError):
    """Another process works on the task now: nothing the caller writes may change it any more."""


class UnknownUser(StorageError):
    """The owner named by a new row is not in `auth.users`: a deleted user with a token that has not expired."""


class HandleTaken(StorageError):
    """Another profile has this handle."""


class AlreadyExists(StorageError):
    """A row with this id exists already."""


class NotMigrated(StorageError):
    """The database lacks what a query names: it is not at this version's schema."""


_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
)
"""Errors that say nothing about the statement, only that the database cannot serve it now. QueryCanceled is the
server's own `statement_timeout`; the three after it come at connect, from a database that is not set up yet, or that
takes no connections (`allow_connections`, during maintenance). Then what a client is told that fell silent within its
transaction (`session.limit_silence`), and what asyncpg says of a connection whose server has just said goodbye, when
that is still being read."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise `StorageError`s for the errors asyncpg raises in the body; the cause keeps the driver's words."""
    try:
        yield
    except _UNAVAILABLE as error:
        raise DatabaseUnavailable(f"the database did not answer: {type(error).__name__}") from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):  # asyncpg's DataError: an argument of the wrong type, our own mistake
            raise
        raise DatabaseUnavailable("the database connection is gone") from error
    except (
        asyncpg.InvalidSchemaNameError,
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedColumnError,
        asyncpg.UndefinedFunctionError,
    ) as error:
        raise NotMigrated("the database is not at this version's schema") from error
    except asyncpg.UniqueViolationError as error:
        known = _already_there(error)
        if known is None:
            raise
        raise known from error
    except asyncpg.ForeignKeyViolationError as error:
        if error.constraint_name in USER_KEYS:
            raise UnknownUser("the owner is not in auth.users") from error
        raise


def _already_there(error: asyncpg.UniqueViolationError) -> StorageError | None:
    """What a unique constraint of ours means, None for one that no caller handles."""
    name = error.constraint_name or ""
    if name == ONE_ACTIVE_GENERATE:
        return ActiveTaskExists("the user has an active generate task")
    if name == UNIQUE_HANDLE:
        return HandleTaken("another profile has this handle")
    if name == ONE_REQUEST_A_KEY:
        return RequestKeyTaken("the idempotency key is bound already")
    if name.endswith("_pkey"):
        return AlreadyExists(f"{error.table_name} has a row with this id")
    return None
