"""What an object store can answer that callers must handle, and the one place where obstore's errors become ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import AlreadyExistsError, BaseError

from storage.errors import StorageError

_STATUS = re.compile(r"status code: ([0-9]{3})")


class ObjectStoreUnavailable(StorageError):
    """The store did not do it. Trying again later can help."""


class ObjectStoreRefused(StorageError):
    """The store answers, but not to us: the wrong credentials, or no such bucket. The message is for an operator."""


class ObjectMissing(StorageError):
    """There is no such object."""


class ObjectExists(StorageError):
    """There is an object with this key already, and it stays as it is."""


class RangeOutside(StorageError):
    """The range asked for has no byte in the object."""


def refusal(name: str, cause: BaseException | None) -> ObjectStoreRefused | None:
    """What an operator has to put right, None when only time can help.

    obstore has one class for every answer to a list, so the status is read from its words.
    """
    found = _STATUS.search(str(cause))
    match found[1] if found is not None else None:
        case "401" | "403":
            return ObjectStoreRefused(
                f"the object store does not let us list {name}. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or "
                "what they allow is wrong"
            )
        case "404":
            return ObjectStoreRefused(f"the object store has no bucket {name}")
        case _:
            return None


@contextmanager
def never_missing() -> Iterator[None]:
    """A write that finds nothing to write to is no missing object: the bucket is gone."""
    try:
        yield
    except FileNotFoundError as error:
        raise OSError("the bucket is gone") from error


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissing("no such object") from error
    except AlreadyExistsError as error:
        raise ObjectExists("there is such an object already") from error
    except (BaseError, OSError, ValueError) as error:
        raise ObjectStoreUnavailable(f"the object store failed: {type(error).__name__}") from error
