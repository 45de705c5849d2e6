"""Speech for the event loop: asks the worker process, remembers what was said."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from bench.emulator.espeak import Utterance
from bench.emulator.speech_worker import LENGTH

MAX_CACHED_BYTES = 64 * 1024 * 1024
"""PCM kept for repeated utterances: about 20 minutes at 24 kHz, enough for a benchmark that repeats one text."""

RENDER_SECONDS = 20.0
"""A segment renders in milliseconds; a worker silent for this long is broken and replaced."""

PIPE_BYTES = 64 * 1024
"""What a Linux pipe holds, so the most that one read can return."""

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""A longer answer means that we lost the frame boundary: 48 kHz PCM of 45 minutes."""


class SpeechFailed(Exception):
    """The worker died or went silent. The next call starts a new one."""


class SpeechWorker:
    """One worker process, used by one caller at a time, and a bounded cache in front of it."""

    def __init__(self) -> None:
        self._process: trio.Process | None = None
        self._turn = trio.Lock()
        self._cache: OrderedDict[Utterance, bytes] = OrderedDict()
        self._cached_bytes = 0

    @property
    def pid(self) -> int | None:
        """Process id of the running worker, None before the first and after the last."""
        return self._process.pid if self._process else None

    async def speak(self, utterance: Utterance) -> bytes:
        """PCM, signed 16 bit mono at `utterance.sample_rate`. Raises `SpeechFailed`."""
        cached = self._recall(utterance)
        if cached is not None:
            return cached
        async with self._turn:
            # Shielded, and bounded by RENDER_SECONDS: a caller that leaves in the middle of a frame would hand its
            # half-read answer to the next one.
            with trio.CancelScope(shield=True):
                pcm = await self._ask(utterance)
        self._remember(utterance, pcm)
        return pcm

    async def start(self) -> None:
        """Start the worker ahead of the first call. Raises `SpeechFailed`."""
        await self.speak(Utterance(text="a", voice="en-us", pitch=50, speed=175, sample_rate=24000))

    async def aclose(self) -> None:
        """End the worker process and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()

    async def _ask(self, utterance: Utterance) -> bytes:
        try:
            with trio.fail_after(RENDER_SECONDS):
                return await self._exchange(utterance)
        except (trio.BrokenResourceError, trio.TooSlowError, SpeechFailed) as error:
            await self.aclose()
            raise SpeechFailed("the speech worker died or went silent; see its traceback on stderr") from error

    async def _exchange(self, utterance: Utterance) -> bytes:
        if self._process is None:
            self._process = await _start_worker()
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise SpeechFailed("the speech worker has no pipes")
        request = msgspec.msgpack.encode(utterance)
        await stdin.send_all(LENGTH.pack(len(request)) + request)
        (size,) = LENGTH.unpack(await _read_exactly(stdout, LENGTH.size))
        if size > MAX_ANSWER_BYTES:
            raise SpeechFailed(f"an answer of {size} bytes is past the limit of {MAX_ANSWER_BYTES}")
        return await _read_exactly(stdout, size)

    def _recall(self, utterance: Utterance) -> bytes | None:
        pcm = self._cache.get(utterance)
        if pcm is not None:
            self._cache.move_to_end(utterance)
        return pcm

    def _remember(self, utterance: Utterance, pcm: bytes) -> None:
        if utterance in self._cache or len(pcm) > MAX_CACHED_BYTES:
            return
        self._cache[utterance] = pcm
        self._cached_bytes += len(pcm)
        while self._cached_bytes > MAX_CACHED_BYTES:
            _, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= len(dropped)


@asynccontextmanager
async def open_speech_worker() -> AsyncIterator[SpeechWorker]:
    """A worker that runs for the body. Raises `SpeechFailed` when espeak-ng cannot start."""
    worker = SpeechWorker()
    try:
        await worker.start()
        yield worker
    finally:
        await worker.aclose()


async def _start_worker() -> trio.Process:
    return await trio.lowlevel.open_process(
        [sys.executable, "-m", "bench.emulator.speech_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


async def _read_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size:
        piece = await stream.receive_some(min(size - len(pieces), PIPE_BYTES))
        if not piece:
            raise SpeechFailed("the speech worker ended in the middle of an answer")
        pieces += piece
    return bytes(pieces)
