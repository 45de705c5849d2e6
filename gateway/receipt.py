"""How a background job tells the request that asked for it how its beginning went."""

from __future__ import annotations

from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Receipt(Generic[T]):
    """Given once, by `accept` or `refuse`; what is given later is not heard any more."""

    def __init__(self) -> None:
        self._given = anyio.Event()
        self._value: list[T] = []
        self._error: BaseException | None = None

    def accept(self, value: T) -> None:
        """It has begun."""
        if not self._given.is_set():
            self._value.append(value)
            self._given.set()

    def refuse(self, error: BaseException) -> None:
        """It will not begin."""
        if not self._given.is_set():
            self._error = error
            self._given.set()

    async def wait(self) -> T:
        """The accepted value. Raises what it was refused with."""
        await self._given.wait()
        if self._error is not None:
            raise self._error
        return self._value[0]
