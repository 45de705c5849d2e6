"""The cutover list against a live deployment, gone through by a user of it over HTTP (product section 16)."""

from __future__ import annotations

from gateway.smoke.tour import SmokeReport, go_round

__all__ = ["SmokeReport", "go_round"]
