"""The `utter` command. Its modules import what they need when they run: `utter --help` loads no web server."""

from __future__ import annotations

import typer

from gateway.cli import audit, doctor, drill, local, operate, orphans, smoke, speak, usage, voices

HELP = """Text in, live speech out.

utter dev

utter say "Good morning." -o morning.mp3
"""

main = typer.Typer(
    name="utter",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

main.command()(local.dev)
main.command()(local.token)
main.command()(speak.say)
main.add_typer(voices.app, name="voices")
main.command()(orphans.orphans)
main.command()(usage.usage)
main.command()(audit.audit)
main.command()(operate.serve)
main.command()(operate.migrate)
main.command()(operate.config)
main.command()(doctor.doctor)
main.command()(smoke.smoke)
main.command()(drill.drill)
main.command(context_settings=operate.PASS_THROUGH)(operate.emulate)
main.command(context_settings=operate.PASS_THROUGH)(operate.bench)
