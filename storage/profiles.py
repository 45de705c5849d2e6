"""Profiles, and the stand-in's users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

from schema.queries import Query, load
from schema.records import ProfileRow
from storage.database import Transaction

ProfileField = Literal["handle", "display_name", "avatar_url"]
"""What users change themselves; credits and tier are not theirs to write."""

_GET: Query[ProfileRow] = load("profiles.get", ProfileRow)
_INSERT: Query[UUID] = load("profiles.insert", UUID)
_UPDATE: Query[ProfileRow] = load("profiles.update", ProfileRow)
_CREATE_USER: Query[UUID] = load("profiles.create_user", UUID)


async def get_or_create_profile(tx: Transaction, owner: UUID) -> ProfileRow:
    """The owner's profile, in `Database.as_user(owner)`. Raises `UnknownUser` when there is no such user."""
    profile = await tx.fetch_one(_GET, owner=owner)
    if profile is None:
        await tx.fetch_one(_INSERT, owner=owner)
        profile = await tx.fetch_value(_GET, owner=owner)
    return profile


async def update_profile(tx: Transaction, owner: UUID, changes: Mapping[ProfileField, str | None]) -> ProfileRow | None:
    """Write the fields in `changes`, None clears one. Gives the whole profile, None when there is none (contract 1.2).

    Raises `HandleTaken` when another profile has the handle.
    """
    fields: tuple[ProfileField, ...] = ("handle", "display_name", "avatar_url")
    switches = {f"set_{name}": name in changes for name in fields}
    values = {name: changes.get(name) for name in fields}
    return await tx.fetch_one(_UPDATE, owner=owner, **switches, **values)


async def create_local_user(tx: Transaction, user_id: UUID) -> bool:
    """Put a user into the `auth` stand-in; False when it is there already. Its trigger makes the profile.

    For local development: the transaction must belong to the database's administrator, and the database must not be
    Supabase's, whose users come from its own auth service.
    """
    return await tx.fetch_one(_CREATE_USER, user_id=user_id) is not None
