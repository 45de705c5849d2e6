"""`python -m tests.fuzz SECONDS [SEED]`: the coverage-guided fuzzer on the two ends of a session.

Exit status 0 when nothing was found in that time; otherwise the traceback, and the input in a file that the last lines
name. Give that file's path instead of SECONDS to see the finding again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["protocol"]):
    from tests.fuzz.target import connection, seeds

MAX_INPUT_BYTES = 65_536
"""Longest input: a session's worth of short events. Long ones have tests of their own, and would slow this down."""

MEMORY_MIB = 512
"""More than this is a finding: an input of 64 KiB must not become a heap of gigabytes."""


def main(what: str, seed: str = "1") -> None:
    if not what.isdigit():
        connection(Path(what).read_bytes())
        return
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds()):
            (Path(corpus) / f"seed-{number}").write_bytes(data)
        options = [f"-max_total_time={what}", f"-seed={seed}", f"-max_len={MAX_INPUT_BYTES}"]
        options += [f"-rss_limit_mb={MEMORY_MIB}", "-timeout=10", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, corpus], connection)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
