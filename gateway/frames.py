"""What an exception holds on to after it was handled.

An exception keeps the frames that it passed through. One of them that has it in a variable closes a reference cycle,
and whatever those frames knew, audio included, stays until the garbage collector comes by, which is seldom
(`gateway.server.YOUNGER_COLLECTIONS`).
"""

from __future__ import annotations

import traceback


def forget_frames(error: BaseException | None) -> None:
    """Empty the frames of `error` and of all that led to it. Call it where the error ends, after it was logged."""
    seen: set[int] = set()
    errors = [error]
    while errors:
        one = errors.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        errors += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            errors += one.exceptions
