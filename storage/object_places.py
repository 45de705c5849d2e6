"""The stores behind `OBJECTS_URL`: obstore's, with limits of ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from obstore.store import LocalStore, S3Store

from storage.object_location import BUCKET, S3Location

if TYPE_CHECKING:  # TypedDicts of the stubs
    from obstore.store import ClientConfig, RetryConfig, S3Config

REQUEST_SECONDS = 60
"""Of one request to a remote store: the backstop behind the callers' own limits (`storage.objects`)."""

CONNECT_SECONDS = 5

RETRIES = 2
"""Of a request that failed in a way that may pass."""

RETRY_SECONDS = 10
"""No new try after this."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one bucket's objects lie: below `folder` in `store`. `name` is for an operator."""

    store: LocalStore | S3Store
    folder: str
    name: str

    def path(self, key: str) -> str:
        """The object's path in `store`."""
        return f"{self.folder}/{key}" if self.folder else key


def open_places(location: Path | S3Location, buckets: frozenset[str]) -> dict[str, Place]:
    """A place for each bucket; the folder of a local store is made when missing. Nothing is contacted.

    Raises OSError and obstore's errors.
    """
    if isinstance(location, Path):
        store = LocalStore(location.absolute(), mkdir=True)
        return {bucket: Place(store, bucket, str(location / bucket)) for bucket in buckets}
    return {bucket: _s3_place(location, bucket) for bucket in buckets}


def _s3_place(location: S3Location, bucket: str) -> Place:
    name = location.bucket.replace(BUCKET, bucket)
    # One object at a time is deleted here, and not every S3 has the call for many.
    config: S3Config = {"disable_bulk_delete": True}
    if location.endpoint is not None:
        config["endpoint"] = location.endpoint
    if location.region is not None:
        config["region"] = location.region
    store = S3Store(name, config=config, client_options=_client_options(location), retry_config=_RETRY)
    return Place(store, location.folder.replace(BUCKET, bucket), f"s3://{name}")


def _client_options(location: S3Location) -> ClientConfig:
    return {
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "timeout": f"{REQUEST_SECONDS}s",
        "allow_http": (location.endpoint or "").startswith("http://"),
    }


_RETRY: RetryConfig = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
