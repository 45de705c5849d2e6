"""A provider that costs next to nothing: the emulator's events in the emulator's order, around audio made once.

The emulator really speaks, and takes half a core for it. To load a gateway with hundreds of streams on a small
machine, what feeds it must not be what is measured.
"""
