"""Who is signed in, and their profile (v1 contract 1.1 and 1.2)."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from schema.http import Timestamp, timestamp
from schema.records import ProfileRow

HANDLE_PATTERN = r"^[A-Za-z0-9_]{3,30}$"
"""A handle, whole (v1 contract 1.2)."""

DISPLAY_NAME_UNITS = 100
"""Longest display name, in UTF-16 units after trimming (v1 contract 1.2)."""

Handle = Annotated[str, Meta(pattern=HANDLE_PATTERN)]
DisplayName = Annotated[str, Meta(max_length=DISPLAY_NAME_UNITS)]
AvatarUrl = Annotated[str, Meta(extra_json_schema={"format": "uri"})]


class UserId(Struct, frozen=True):
    """A signed-in user; v1 shows nothing but the id."""

    id: UUID


class Profile(Struct, frozen=True):
    """A user's profile."""

    id: UUID
    handle: str | None
    display_name: str | None
    avatar_url: str | None
    subscription_tier: str
    credits_remaining: int
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, row: ProfileRow) -> Profile:
        """The profile of a database row."""
        return cls(
            id=row.id,
            handle=row.handle,
            display_name=row.display_name,
            avatar_url=row.avatar_url,
            subscription_tier=row.subscription_tier,
            credits_remaining=row.credits_remaining,
            created_at=timestamp(row.created_at),
            updated_at=timestamp(row.updated_at),
        )


class Me(Struct, frozen=True):
    """`GET /me`: never an error, so the page can ask before it knows whether anybody is signed in."""

    signed_in: bool
    user: UserId | None
    profile: Profile | None


class DevelopmentToken(Struct, frozen=True):
    """`POST /dev/token`: an access token for the demo user, valid for `expires_in` seconds."""

    token: str
    expires_in: int
    user: UserId


class ProfileChanges(Struct, frozen=True, omit_defaults=True):
    """The body of `PATCH /profile` once read: a field that is absent stays as it is, one that is null is cleared."""

    handle: Handle | UnsetType | None = UNSET
    display_name: DisplayName | UnsetType | None = UNSET
    avatar_url: AvatarUrl | UnsetType | None = UNSET


class ProfileChanged(Struct, frozen=True):
    """`PATCH /profile`: the profile as it is now."""

    profile: Profile
