"""Work that is paid for belongs to the server, not to the connection of whoever asked for it (product section 11)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import anyio

from gateway.errors import ApiError
from gateway.receipt import Receipt
from storage.errors import StorageError

_RESTARTING = "The server is restarting. Please try again in a few minutes."

T = TypeVar("T")


class Jobs(Protocol):
    """Who keeps work that outlives its request: the supervisor, in a gateway."""

    def start_job(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Begin `work`; see `Supervisor.start_job`."""


async def outliving_request(jobs: Jobs, name: str, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives or raises. It goes on when the request ends first.

    Raises `ApiError` 503 also when the server stops before `work` has ended.
    """
    receipt = Receipt[T]()

    async def job() -> None:
        made = await refusing(receipt, work)
        if made is not None:
            receipt.accept(made)

    jobs.start_job(name, job)
    return await receipt.wait()


async def refusing(receipt: Receipt[Any], work: Callable[[], Awaitable[T]]) -> T | None:
    """What `work` gives. None when it failed and whoever waits for the receipt was told why; a defect is raised, too,
    for the supervisor to log."""
    try:
        return await work()
    except anyio.get_cancelled_exc_class():
        receipt.refuse(ApiError(503, _RESTARTING))
        raise
    except (ApiError, StorageError) as error:
        receipt.refuse(error)
        return None
    except Exception as error:
        receipt.refuse(error)
        raise
