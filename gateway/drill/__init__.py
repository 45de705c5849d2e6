"""The restoration rehearsal: Qwen to Modal and back, on one database, with live traffic and work in flight at each
flip; then every item of the post-rollback list (product section 16)."""

from __future__ import annotations

from gateway.drill.rehearsal import DrillReport, hold_drill
from gateway.drill.site import DrillBroken, Site
from gateway.drill.switch import Switch

__all__ = ["DrillBroken", "DrillReport", "Site", "Switch", "hold_drill"]
