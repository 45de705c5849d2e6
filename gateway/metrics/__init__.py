"""What Prometheus is told, all of it in one place (product section 12). Dashboards and alerts rely on these names.

Labels have few values each, and none that a user chose. Telling costs a microsecond and cannot fail a request; where
nobody asks (`UTTER_METRICS_BIND` unset) it is counted all the same. How the counts of several processes become one
answer is `serving`'s.
"""

from __future__ import annotations

from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from protocol.errors import Fault

REGISTRY: Final = CollectorRegistry()
"""Everything below. The library's own, which other packages may add to, is not shown."""

FIRST_AUDIO_SECONDS: Final = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Buckets: below 0.3 s speech seems to begin at once, above 3 s people press again."""

ADDED_SECONDS: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
"""Buckets of our own share, which is to be unnoticeable."""

GENERATION_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1800.0)
"""Buckets: a sentence takes seconds, 2000 characters 2 to 3 minutes at the pace of speech, a Modal job half an hour."""

Flow = Literal["generate", "generate_stream"]

Ending = Literal["completed", "failed", "cancelled", "spooled", "left"]
"""How a generation ended here. `spooled`: the audio is whole and waits for its store; `left`: to another process."""

STARTS: Final = Counter(
    "utter_starts",
    "Requests to speak that were good, by whether speech began (a stream's first byte, a task's acceptance).",
    ["flow", "outcome"],
    registry=REGISTRY,
)
GENERATIONS: Final = Counter(
    "utter_generations",
    "Generations that ended in this process.",
    ["provider", "flow", "ending"],
    registry=REGISTRY,
)
GENERATION_TIME: Final = Histogram(
    "utter_generation_seconds",
    "From the request to the stored audio, of those that completed.",
    ["provider"],
    buckets=GENERATION_SECONDS,
    registry=REGISTRY,
)
FIRST_AUDIO: Final = Histogram(
    "utter_first_audio_seconds",
    "From the request to the provider's first audio.",
    ["flow"],
    buckets=FIRST_AUDIO_SECONDS,
    registry=REGISTRY,
)
ADDED_LATENCY: Final = Histogram(
    "utter_added_latency_seconds",
    "The gateway's own share of the time to the first audio: all that was not the provider's.",
    ["flow"],
    buckets=ADDED_SECONDS,
    registry=REGISTRY,
)
FAILURES: Final = Counter(
    "utter_provider_failures",
    "Generations and voices that the provider failed, by category and fault, and whether speech had begun.",
    ["provider", "category", "fault", "heard"],
    registry=REGISTRY,
)
SESSIONS: Final = Gauge(
    "utter_active_sessions",
    "Generations at the provider now, those that wait for its limits among them.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
IN_LINE: Final = Gauge(
    "utter_tasks_in_line",
    "Tasks that wait for a place.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
LISTENERS: Final = Gauge(
    "utter_listeners",
    "Answers that carry a generation while it is made.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
CANCELS: Final = Counter(
    "utter_cancels",
    "Requests to stop work: `ended` in time or already, or `failed`.",
    ["outcome"],
    registry=REGISTRY,
)
PACING: Final = Counter(
    "utter_pacing_seconds",
    "Time that sessions waited for the account's limits.",
    registry=REGISTRY,
)
WARM_CONNECTIONS: Final = Counter(
    "utter_warm_connections",
    "Connections to the provider opened in advance: `used`, `missed` by who wanted one, `expired` or `lost` unused.",
    ["outcome"],
    registry=REGISTRY,
)
CIRCUIT_OPEN: Final = Gauge(
    "utter_provider_circuit_open",
    "1 while the provider is left alone after failures in a row, in any process.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
CREATES: Final = Counter(
    "utter_billable_creates",
    "Voices that the provider made and bills.",
    ["kind"],
    registry=REGISTRY,
)
CHARACTERS: Final = Counter(
    "utter_billed_characters",
    "Characters that the provider bills.",
    registry=REGISTRY,
)
AUDIO: Final = Counter(
    "utter_audio_seconds",
    "Speech that the provider delivered.",
    registry=REGISTRY,
)
UNDERRUNS: Final = Counter(
    "utter_underruns",
    "Times that somebody who listened from the first piece on would have run out of speech.",
    registry=REGISTRY,
)
UNDERRUN_TIME: Final = Counter(
    "utter_underrun_seconds",
    "How long they would have heard nothing.",
    registry=REGISTRY,
)


def count_failure(provider: str, fault: Fault, *, heard: bool) -> None:
    """The provider failed; `heard` says whether speech had begun."""
    FAILURES.labels(provider, fault.facts.category.value, fault.value, "yes" if heard else "no").inc()


def count_ending(provider: str, flow: Flow, ending: Ending) -> None:
    """A generation is over for this process."""
    GENERATIONS.labels(provider, flow, ending).inc()
