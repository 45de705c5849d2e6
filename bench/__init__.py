"""The provider emulator, and the instruments that measure the gateway against it."""
