"""What comes out of the page's <audio> element, sample by sample, and whether it is the stored sound.

The element is led through an AudioContext, whose clock is the sound card's: time in which it had nothing to say is
silence there, as it would be at a loudspeaker.
"""

from __future__ import annotations

import base64
import io

import av
import numpy as np
from numpy.typing import NDArray

from tests.support.browser import Tab

RATE = 24_000
"""Samples a second, of the emulator's speech and of what is compared."""

TOLERANCE_SECONDS = 0.05
"""More than this may neither be missing nor have come in between."""

WINDOW_SECONDS = 0.25
"""Compared at once: speech of that length fits at one place only."""

SEARCH_SECONDS = 0.5
"""How far from its place a window is looked for."""

SOUNDING = 0.01
"""Of full scale; below it is silence."""

_LISTEN = """
globalThis.heard = [];
addEventListener("DOMContentLoaded", () => {
  const context = new AudioContext({ sampleRate: RATE });
  // Not an AudioWorklet, whose module the page's policy forbids. Two thirds of a second for a page that is busy.
  const recorder = context.createScriptProcessor(16384, 1, 1);
  recorder.onaudioprocess = ({ inputBuffer, outputBuffer }) => {
    heard.push(inputBuffer.getChannelData(0).slice());
    outputBuffer.getChannelData(0).set(inputBuffer.getChannelData(0));
  };
  context.createMediaElementSource(document.getElementById("audio")).connect(recorder).connect(context.destination);
});
""".replace("RATE", str(RATE))

_TAKE = """(() => {
  const samples = Int16Array.from(heard.flatMap((piece) => [...piece]), (sample) => sample * 32767);
  let text = "";
  const bytes = new Uint8Array(samples.buffer);
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
})()"""

Sound = NDArray[np.float32]


def listen(tab: Tab) -> None:
    """Before the page is opened: record all that it plays from then on."""
    tab.page.add_init_script(_LISTEN)


def heard(tab: Tab) -> Sound:
    """All that was played so far, with the silence round it."""
    tab.until(f"heard.length > {tab.state('heard.length') + 1}")  # the last of it is on its way
    samples = np.frombuffer(base64.b64decode(tab.state(_TAKE)), dtype=np.int16)
    return samples.astype(np.float32) / np.float32(32768)


def decoded(audio: bytes) -> Sound:
    """A recording as one channel at `RATE`."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(io.BytesIO(audio), "r") as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def sounding(sound: Sound) -> tuple[int, int]:
    """The first and the last sample that can be heard."""
    found = np.flatnonzero(np.abs(sound) > SOUNDING)
    return int(found[0]), int(found[-1])


def assert_same(played: Sound, stored: Sound) -> None:
    """Nothing of `stored` is missing in `played` and nothing came in between, from its first sound to its last."""
    tolerance = round(TOLERANCE_SECONDS * RATE)
    first, last = sounding(stored)
    began, ended = sounding(played)
    assert abs((ended - began) - (last - first)) <= tolerance, (
        f"{(ended - began - last + first) / RATE:+.3f} s of sound"
    )
    window, search = round(WINDOW_SECONDS * RATE), round(SEARCH_SECONDS * RATE)
    shifts = {}
    for at in [*range(first, last - window, window // 2), last - window]:
        wanted = stored[at : at + window]
        if np.abs(wanted).max() <= SOUNDING:
            continue
        begin = max(0, began + at - first - search)
        place, likeness = _best_fit(wanted, played[begin : began + at - first + window + search])
        assert likeness > 0.9, f"what is stored at {at / RATE:.2f} s was not heard (likeness {likeness:.2f})"
        shifts[at / RATE] = (begin + place - began - at + first) / RATE
    assert shifts
    off = {at: shift for at, shift in shifts.items() if abs(shift) > TOLERANCE_SECONDS}
    assert not off, f"heard at another time than stored, by so many seconds: {off}"


def _best_fit(wanted: Sound, where: Sound) -> tuple[int, float]:
    """Where in `where` it fits best, and how well: 1 is the same but for its loudness."""
    products = np.correlate(where, wanted, "valid") if len(wanted) < 256 else _correlate(where, wanted)
    power = np.concatenate([[0.0], np.cumsum(where.astype(np.float64) ** 2)])
    norms = np.sqrt(np.maximum(power[len(wanted) :] - power[: -len(wanted)], 1e-9)) * np.linalg.norm(wanted)
    place = int(np.argmax(products / norms))
    return place, float(products[place] / norms[place])


def _correlate(where: Sound, wanted: Sound) -> NDArray[np.float64]:
    size = 1 << (len(where) + len(wanted)).bit_length()
    product = np.fft.irfft(np.fft.rfft(where, size) * np.conj(np.fft.rfft(wanted, size)), size)
    return product[: len(where) - len(wanted) + 1]
