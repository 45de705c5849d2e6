"""What storing an object answers."""

from __future__ import annotations

from msgspec import Struct, field


class StoredObject(Struct, frozen=True):
    """Answer to an upload: where it is, as `<bucket>/<key>`. The name is that of v1's storage service."""

    key: str = field(name="Key")
