"""The gateway: one ASGI application from a text to speech that plays while it is being made."""
