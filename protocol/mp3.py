"""Reads an MP3 stream that arrives in arbitrary portions and gives out its audio frames, whole and nothing else.

What a provider sends may be several files end to end, one per response, each with its own decoration. Players take
an Xing, Info or VBRI frame for the length of everything that follows and stumble over tags in the middle, so all of
them are dropped wherever they stand: ID3v2, ID3v1, APEv2, and the header frames.

The wire format is not documented (protocol reference 2), so this is policy:

- Nothing else is tolerated between frames. There is no search for the next sync word: a stream that lost it has lost
  audio, and speech with a hole must not pass for whole.
- One exception: a run of at most `MAX_PADDING_BYTES` zeros after the first frame. Before it zeros are refused, for
  that is how silence looks in PCM.
- Every frame has the shape of the first, also across joins. It is the answer to one request, and players take sample
  rate and channels from the first frame.
- A frame is given out when its last byte is here. It does not wait for the next header to confirm it.
- Refused as well: free format, Layers I and II, Lyrics3, APEv1, an APEv2 tag with a footer only.
"""

from __future__ import annotations

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.mp3_format import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    MP3,
    TAG_HEAD_BYTES,
    FrameHeader,
    StreamShape,
    is_header_frame,
    may_become_frame,
    may_become_tag,
    parse_header,
    sniff,
    tag_length,
)

__all__ = ["MAX_PADDING_BYTES", "MAX_PENDING_BYTES", "MAX_TAG_BYTES", "Mp3FrameReader", "WrongAudioError", "sniff"]

MAX_TAG_BYTES = 1 << 20
"""Bytes of one tag. Room for cover art; a longer one would silently swallow a minute of speech at 128 kbit/s."""

MAX_PADDING_BYTES = 4096
"""Bytes of zeros in one run. What rounding up to a disk block adds."""

MAX_PENDING_BYTES = MAX_FRAME_BYTES - 1
"""The most a reader holds back: a frame that lacks its last byte."""


class WrongAudioError(RemoteProtocolError):
    """These bytes are not the MP3 that was asked for. `found` names them, `position` is theirs in the whole stream."""

    def __init__(self, found: str, position: int) -> None:
        self.found = found
        self.position = position
        super().__init__(f"expected MP3 frames, found {found} at byte {position} of the stream")


class Mp3FrameReader:
    """MP3 in as it comes, audio frames out as soon as they are whole. `feed` any number of times, then `finish`.

    Tags are passed over as they stream by, however long. After a `WrongAudioError` every call raises it again.
    """

    def __init__(self) -> None:
        self._pending = b""
        self._position = 0  # of _pending in the whole stream
        self._tag_bytes = 0  # of the present tag, still to come
        self._zeros = 0  # in the present run
        self._shape: StreamShape | None = None
        self._failure: WrongAudioError | None = None
        self._finished = False
        self._frames = 0
        self._samples = 0
        self._leftover_bytes = 0

    @property
    def frames(self) -> int:
        """Audio frames given out."""
        return self._frames

    @property
    def samples(self) -> int:
        """Samples per channel given out."""
        return self._samples

    @property
    def duration_seconds(self) -> float:
        """Playing time of what was given out. Each file in it is some 0.05 s longer than what its encoder was given."""
        return self._samples / self._shape.sample_rate if self._shape else 0.0

    @property
    def pending_bytes(self) -> int:
        """Bytes held back, at most `MAX_PENDING_BYTES`."""
        return len(self._pending)

    @property
    def leftover_bytes(self) -> int:
        """After `finish`: bytes of a last frame that never became whole and was dropped."""
        return self._leftover_bytes

    def feed(self, data: bytes) -> bytes:
        """Take more of the stream; return the audio frames that are now whole, b"" if none is.

        Raises:
            WrongAudioError: there is something else than MP3. Frames before it are returned first and the error comes
                with the next call, so that the same frames come out however the stream was cut.
            LocalProtocolError: after `finish`.
        """
        self._require_usable()
        buffer = self._pending + data
        runs: list[bytes] = []
        at = self._pass_over_tag(buffer, 0) if self._tag_bytes else 0
        try:
            while True:
                end_of_frames = self._walk_frames(buffer, at)
                if end_of_frames > at:
                    runs.append(buffer[at:end_of_frames])
                at = self._pass_over(buffer, end_of_frames)
                if at == end_of_frames:
                    break
        except WrongAudioError as error:
            self._failure, at = error, len(buffer)
            if not runs:
                raise
        self._pending = buffer[at:]
        self._position += at
        return runs[0] if len(runs) == 1 else b"".join(runs)

    def finish(self) -> None:
        """The stream has ended. A tag or frame that is not whole is dropped; `leftover_bytes` tells of a frame.

        Raises:
            WrongAudioError: what is left begins neither, or the last `feed` has met something else.
            LocalProtocolError: on a second call.
        """
        self._require_usable()
        self._finished = True
        rest, self._pending = self._pending, b""
        if not rest or may_become_tag(rest):
            return
        if not may_become_frame(rest):
            raise self._wrong(rest, 0)
        self._leftover_bytes = len(rest)

    def _require_usable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._finished:
            raise LocalProtocolError("this reader was finished: the stream has ended")

    def _walk_frames(self, buffer: bytes, at: int) -> int:
        """Count the whole audio frames from `at` on, return where they end. The hot path: it copies nothing."""
        size, shape = len(buffer), self._shape
        frames = samples = 0
        word, header = b"", None
        while True:
            if header is None or buffer[at : at + HEADER_BYTES] != word:  # almost always it is that of the last frame
                word, header = buffer[at : at + HEADER_BYTES], parse_header(buffer, at)
                if header is None or (shape is not None and header.shape is not shape):
                    break
            end = at + header.length
            if end > size or is_header_frame(buffer, at, header):
                break
            shape = header.shape
            frames += 1
            samples += header.samples
            at = end
        if frames:
            self._shape, self._zeros = shape, 0
            self._frames += frames
            self._samples += samples
        return at

    def _pass_over(self, buffer: bytes, at: int) -> int:
        """Where the thing at `at`, which is no whole audio frame, ends (`at` itself: it needs more bytes)."""
        header = parse_header(buffer, at)
        if header is not None:
            return self._pass_over_frame(buffer, at, header)
        if self._frames and buffer.startswith(b"\0", at):
            return self._pass_over_zeros(buffer, at)
        head = buffer[at : at + TAG_HEAD_BYTES]
        if len(head) < TAG_HEAD_BYTES:
            return at
        length = tag_length(head)
        if length is None:
            raise self._wrong(head, at)
        if length > MAX_TAG_BYTES:
            raise WrongAudioError(f"a tag of {length} bytes", self._position + at)
        self._tag_bytes, self._zeros = length, 0
        return self._pass_over_tag(buffer, at)

    def _pass_over_frame(self, buffer: bytes, at: int, header: FrameHeader) -> int:
        if at + header.length > len(buffer):
            return at
        if is_header_frame(buffer, at, header):
            return at + header.length
        found = f"a frame of {header.shape.sample_rate} Hz with {header.shape.channels} channel(s) after others"
        raise WrongAudioError(found, self._position + at)

    def _pass_over_zeros(self, buffer: bytes, at: int) -> int:
        count = len(buffer) - at - len(buffer[at:].lstrip(b"\0"))
        self._zeros += count
        if self._zeros > MAX_PADDING_BYTES:
            raise WrongAudioError(f"more than {MAX_PADDING_BYTES} zeros", self._position + at)
        return at + count

    def _pass_over_tag(self, buffer: bytes, at: int) -> int:
        count = min(self._tag_bytes, len(buffer) - at)
        self._tag_bytes -= count
        return at + count

    def _wrong(self, head: bytes, at: int) -> WrongAudioError:
        found = sniff(head) or f"no format we know, perhaps raw PCM (it begins {head[:4].hex(' ')})"
        return WrongAudioError("a broken ID3 tag" if found == MP3 else found, self._position + at)
