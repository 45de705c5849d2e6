"""The sans-IO half of Utter: what is said on the wires, and what it means.

Nothing here opens a socket, reads a clock, writes a log or makes an id; all of that comes in as arguments.
"""
