"""Fixtures of the bench tests."""

from __future__ import annotations

from tests.support.emulator import emulator

__all__ = ["emulator"]
