"""Rows of what tells about the server itself."""

from __future__ import annotations

from gateway.routes import docs, page, public
from gateway.routes.operations import Answer, Auth, Json, Operation, Raw
from schema.http import Health, Languages, Readiness
from schema.http_page import PageFacts

ROWS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/health",
        public.health,
        "Whether the process answers",
        Auth.NOBODY,
        {200: Health},
    ),
    Operation(
        "GET",
        "/ready",
        public.ready,
        "Whether requests are served well",
        Auth.NOBODY,
        {
            200: Readiness,
            503: Answer("Not now: the detail says why.", Json(Readiness), ("Retry-After",)),
        },
    ),
    Operation(
        "GET",
        "/languages",
        public.languages,
        "Languages, and what the active provider can do",
        Auth.NOBODY,
        {200: Languages},
    ),
    Operation(
        "GET",
        "/page",
        page.facts,
        "How to sign in, what a recording must be like, what making a voice costs",
        Auth.NOBODY,
        {200: PageFacts},
    ),
    Operation(
        "GET",
        "/openapi.json",
        docs.document,
        "This document",
        Auth.NOBODY,
        {200: Answer("An OpenAPI 3.1 document.", Raw(("application/json",)))},
    ),
)
