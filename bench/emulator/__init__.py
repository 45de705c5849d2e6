"""A faithful stand-in for the speech provider: a process of its own, on trio and trio-websocket.

It shares no WebSocket library and no event loop with the gateway, so the two check each other. What it sends follows
the protocol reference (sections 1 to 3); what it speaks is real (espeak-ng).
"""
