"""What the gateway is measured against: the same `POST /stream`, written by others' habits.

Each is a program of its own, `python -m bench.peers.NAME --port P`, with the provider's address and key in the
environment variables that the gateway reads too. They do the relaying and nothing else: no sign-in, no rows, no stored
audio, no second listener, no retry.
"""
