"""Everything that can be configured: one frozen object, read once from the environment.

`load_settings` reports every problem at once, in sentences that name the variable and what to do. `kinds` says how
a variable is read, `fields` lists them, `rules` holds what follows from several together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.settings import rules
from gateway.settings.fields import Settings
from gateway.settings.kinds import Variable, read_variable, variable_of
from gateway.settings.names import Environment, ProviderMode, ResponseFormat, UpstreamFormat

__all__ = [
    "Environment",
    "ProviderMode",
    "ResponseFormat",
    "SettingRow",
    "Settings",
    "SettingsError",
    "UpstreamFormat",
    "describe",
    "load_settings",
]

_VARIABLES: dict[str, Variable] = {
    field.name: facts for field in dataclasses.fields(Settings) if (facts := variable_of(field)) is not None
}


class SettingsError(Exception):
    """The environment cannot be used. `problems` has one sentence for each thing to put right."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(["The settings cannot be used:", *(f"  - {line}" for line in problems)]))


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read `environ`. A blank variable counts as unset.

    Raises:
        SettingsError: with all problems found, never only the first.
    """
    values: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Settings)}
    given: set[str] = set()
    unreadable: set[str] = set()
    problems: list[str] = []
    for name, facts in _VARIABLES.items():
        try:
            value = read_variable(facts, environ)
        except ValueError as problem:
            problems.append(str(problem))
            unreadable.add(name)
            continue
        if value is not None:
            values[name] = value
            given.add(name)
    derived = rules.derive(values)
    settings = Settings(**{**values, **derived, "sources": _sources(given, derived)})
    problems += rules.check(settings, unreadable)
    if problems:
        raise SettingsError(problems)
    return settings


def _sources(given: set[str], derived: Mapping[str, Any]) -> dict[str, str]:
    return {
        facts.name: "environment" if name in given else "derived" if name in derived else "default"
        for name, facts in _VARIABLES.items()
    }


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of `utter config`. `source` is `environment`, `derived` or `default`; a secret's `value` is masked."""

    name: str
    value: str
    source: str
    doc: str


def describe(settings: Settings) -> list[SettingRow]:
    """Every setting in the order of its declaration, fit to be shown to anybody."""
    return [
        SettingRow(
            facts.name,
            _shown(getattr(settings, name), secret=facts.secret),
            settings.sources.get(facts.name, "default"),
            facts.doc,
        )
        for name, facts in _VARIABLES.items()
    ]


def _shown(value: object, *, secret: bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    text = "" if value is None else str(value)
    return rules.mask(text) if text and (secret or rules.carries_credentials(text)) else text
