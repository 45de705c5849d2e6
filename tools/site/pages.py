"""The reference pages that are made of tables in code: settings, command line and the emulator's faults."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import typer

from bench.cli import COMMANDS
from bench.emulator.faults import SCENARIOS
from gateway.cli import main
from gateway.settings import Settings
from gateway.settings.kinds import Variable, variable_of
from tools.site import http_reference
from tools.site.markdown import WIDE, cell, table

_UNSET = "unset"

_ABOUT_SETTINGS = """\
All of them are environment variables, read once at start; a blank one counts as unset. What is wrong is told
all at once, and the process then does not start. Names that end in `_SECONDS` are seconds, in `_BYTES` bytes.
`utter config` prints what a process would use, and where each value came from; secrets are masked."""

_ABOUT_FAULTS = """\
`utter emulate` stands in for both providers and really speaks. It misbehaves on request: for one connection by
the header `X-Emulator-Fault: name,name`, or by its control endpoints for the next sessions of a voice (`*` is
any) or the next calls of a REST service. What each comes to for a listener, a poll and a row is in [the fault
matrix](../fault-matrix.md)."""


def settings() -> str:
    """Every variable of the settings object."""
    return "\n\n".join(
        [
            WIDE + "# Settings",
            _ABOUT_SETTINGS,
            table(("variable", "default", "what it does, and takes"), map(_setting, _variables())),
            "",
        ]
    )


def _variables() -> Iterator[tuple[Variable, object]]:
    for field in dataclasses.fields(Settings):
        facts = variable_of(field)
        if facts is not None:
            yield facts, field.default


def _setting(declared: tuple[Variable, object]) -> tuple[str, str, str]:
    facts, default = declared
    shown = "required" if facts.required else _default(default)
    secret = " Secret." if facts.secret else ""
    return f"`{facts.name}`", shown, f"{cell(facts.doc)}{secret}<br>Takes {cell(facts.kind.expects)}."


def _default(value: object) -> str:
    if value is None or value in {"", ()}:
        return _UNSET
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def commands() -> str:
    """Every command of `utter`, with its arguments, and those of `bench`."""
    parts = [
        "# Command line",
        "Every command has `--help`. A command that looks for trouble says by its exit status whether it found any.",
        *_command("utter", typer.main.get_command(main)),
        "## Benches",
        "`utter bench NAME` or `python -m bench NAME`; `utter emulate` is the first of them.",
        table(("name", "what it does"), ((f"`{name}`", cell(given.does)) for name, given in COMMANDS.items())),
        "",
    ]
    return "\n\n".join(parts)


def _command(name: str, command: Any) -> Iterator[str]:
    """The command's section and those below it. typer vendors click, whose types have no public name there."""
    below = getattr(command, "commands", {})
    if name != "utter":
        yield f"## `{name}`"
        yield from _help(command.help or "")
        given = [_parameter(one) for one in command.params if not one.hidden and one.name != "help"]
        if given:
            yield table(("argument", "default", "meaning"), given)
    for word, sub in below.items():
        if not sub.hidden:
            yield from _command(f"{name} {word}", sub)


def _help(text: str) -> Iterator[str]:
    """Paragraphs, and the examples among them as blocks to copy."""
    for paragraph in filter(None, text.split("\n\n")):
        example = "utter " in paragraph and not paragraph.rstrip().endswith((".", ":"))
        yield f"```\n{paragraph.strip()}\n```" if example else " ".join(paragraph.split())


def _parameter(given: Any) -> tuple[str, str, str]:
    option = given.opts[0].startswith("-")
    names = (
        ", ".join(f"`{name}`" for name in [*given.opts, *given.secondary_opts]) if option else f"`{given.name.upper()}`"
    )
    default = "required" if given.required else "" if given.default in {None, False, ""} else f"`{given.default}`"
    variable = f" Or `{given.envvar}`." if given.envvar else ""
    return names, default, cell(given.help or "") + variable


def faults() -> str:
    """What the emulator does wrong on request."""
    rows = ((f"`{fault.value}`", cell(told.does), cell(told.reference)) for fault, told in SCENARIOS.items())
    return "\n\n".join(
        [
            WIDE + "# Emulator faults",
            _ABOUT_FAULTS,
            table(("name", "what the provider does", "in the protocol reference"), rows),
            "",
        ]
    )


PAGES: dict[str, Callable[[], str]] = {
    "reference/http.md": http_reference.render,
    "reference/settings.md": settings,
    "reference/commands.md": commands,
    "reference/faults.md": faults,
}
"""Path in the site, and who writes it."""
