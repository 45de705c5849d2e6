"""`python -m bench startup`: what it costs to begin. Import time, start to ready, idle memory.

An import is timed in a fresh interpreter, against one that imports nothing, in turns. Start to ready is `utter dev`
on a new data directory (which makes a database) and again on the same one; memory is what the gateway's process has
to itself (`RssAnon`, Linux only) when ready and idle.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.process_memory import anonymous_mib
from bench.stack import started
from bench.statistics import Summary, summarize, summary_table

IMPORTS = {"interpreter": "pass", "utter": "import gateway.cli", "gateway": "import gateway.app"}
"""What is timed: nothing at all, what every command imports, and what a server imports."""


def main(argv: list[str]) -> int:
    """Print the tables, write JSON when asked to. Exit status 0."""
    parser = argparse.ArgumentParser(prog="python -m bench startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="imports of each kind (default 10)")
    parser.add_argument("--starts", type=int, default=3, help="starts on the same data directory (default 3)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(argv)
    if options.runs < 1 or options.starts < 1:
        parser.error("--runs and --starts are at least 1")
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("measuring", total=options.runs * len(IMPORTS) + options.starts + 1)
        imports: dict[str, list[float]] = {name: [] for name in IMPORTS}
        for _ in range(options.runs):
            for name, statement in IMPORTS.items():
                imports[name].append(_run_ms(statement))
                progress.advance(task)
        with TemporaryDirectory(prefix="utter-startup-") as folder:
            starts = []
            for _ in range(options.starts + 1):
                starts.append(_start(Path(folder)))
                progress.advance(task)
    (new_ms, _), *again = starts
    ready = {"new directory": summarize([new_ms]), "same directory": summarize([ms for ms, _ in again])}
    memory = {"gateway": summarize([mib for _, mib in starts])}
    import_rows = {name: summarize(found) for name, found in imports.items()}
    console = Console()
    console.print(summary_table("interpreter to imported and gone", "ms", import_rows))
    console.print(summary_table("utter dev to ready, demo voices made", "ms", ready))
    console.print(summary_table("idle memory of the gateway's process", "MiB", memory))
    if options.json:
        options.json.write_text(json.dumps(_figures(imports=import_rows, ready=ready, memory=memory), indent=2))
    return 0


def _run_ms(statement: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return (time.monotonic() - began) * 1000


def _start(data_dir: Path) -> tuple[float, float]:
    """Milliseconds to ready, MiB when ready."""
    began = time.monotonic()
    with started(data_dir) as stack:
        return (time.monotonic() - began) * 1000, anonymous_mib(stack.pid)


def _figures(**groups: dict[str, Summary]) -> dict[str, Any]:
    return {group: {name: asdict(row) for name, row in rows.items()} for group, rows in groups.items()}
