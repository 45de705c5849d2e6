"""The event loops our code runs on, as parameters for the `anyio_backend` fixture."""

ASYNCIO = ("asyncio", {"use_uvloop": True})
TRIO = ("trio", {"restrict_keyboard_interrupt_to_checkpoints": True})

PLAIN_ASYNCIO = ("asyncio", {"use_uvloop": False})
"""For tests whose own listener is cancelled while a client arrives: uvloop reports an accept that nobody awaits."""

BACKENDS = [ASYNCIO, TRIO]
