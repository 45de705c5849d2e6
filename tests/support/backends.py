"""The event loops our code runs on, as parameters for the `anyio_backend` fixture."""

ASYNCIO = ("asyncio", {"use_uvloop": True})
TRIO = ("trio", {"restrict_keyboard_interrupt_to_checkpoints": True})

BACKENDS = [ASYNCIO, TRIO]
