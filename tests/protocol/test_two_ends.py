"""Both ends of a session against each other over a wire that splits, joins and delays bytes, and a plain model beside
them. The model keeps facts, not states: what each end has said and heard. From those it tells which moves are legal;
every other move must be refused and change nothing. Paths that are rare by nature are counted, and must occur.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from protocol.errors import Fault, LocalProtocolError, RemoteProtocolError
from protocol.events import Usage
from protocol.server_session import (
    ClearRequested,
    CommitRequested,
    ConfigureRequested,
    FinishRequested,
    Refused,
    ServerOutput,
    ServerSession,
    TextAppended,
)
from protocol.session import (
    AudioReceived,
    ClientSession,
    Output,
    ResponseFinished,
    SessionConfig,
    SessionConfigured,
    SessionFailed,
    SessionFinished,
    SessionOpened,
)
from tests.protocol import samples
from tests.protocol.wire import wire_pair

RARE = Counter[str]()
"""How often each path was taken in the whole run."""

REQUIRED = {
    "a success",
    "a failed response",
    "an end without audio",
    "an end with a response left open",
    "an error before the greeting",
    "an error later",
    "a cut before the greeting",
    "a cut in the middle",
    "a cut after a success",
    "audio after its response had ended",
    "a response that ended twice",
    "two responses at once",
    "a confirmation after the text was sent",
    "a commit in mode server_commit",
    "a commit in mode commit",
    "a clear that came too late",
    "one message in several deliveries",
    "several messages in one delivery",
    "words on the wire both ways",
    "a call that was refused to the client",
    "a call that was refused to the server",
    "a message that the server refused",
    "a message that broke the client's session",
    "a failed send, and the reason was heard",
    "a failed send after the finish, and a success",
}

Heard: TypeAlias = tuple[type[Output], object]
"""What the client must make of a message: the kind of output, and what it carries."""

PATIENCE_STEPS = st.sampled_from([1, 10, 30, 1000])
"""Steps before a session may begin to go wrong: most are to get far enough to end well."""

CHOICE = st.integers(0, 59)
"""Of one of several things that are possible, however many there are."""

PORTION_BYTES = st.integers(1, 400) | st.just(100_000)
"""What the wire carries at once: a piece of a message, or all there is."""


def took(path: str) -> None:
    RARE[path] += 1
    event(path)


@dataclass
class ClientFacts:
    """What the client has said and heard. `muted`: it may say no more."""

    greeted: bool = False
    configured: bool = False
    manual: bool = False
    said_text: bool = False
    uncommitted: bool = False
    finished: bool = False
    send_failed: bool = False
    muted: bool = False
    broken: bool = False
    outcome: Output | None = None

    def may(self) -> set[str]:
        if self.muted or not self.greeted or self.finished:
            return set()
        calls = set() if self.said_text else {"configure", "configure (commit)"}
        if self.configured:
            calls |= {"append", "clear"}
            if self.uncommitted:
                calls.add("commit")
            if not (self.manual and self.uncommitted):
                calls.add("finish")
        return calls

    def next_call(self) -> str:
        """What a client would say that only wants its text spoken."""
        if not self.configured:
            return "configure"
        if not self.said_text:
            return "append"
        return "commit" if self.manual and self.uncommitted else "finish"


@dataclass
class ServerFacts:
    """What the server has heard and said. `over`: it may say no more, and hears nothing."""

    greeted: bool = False
    asked: bool = False
    confirmed: bool = False
    heard_text: bool = False
    holds_text: bool = False
    heard_finish: bool = False
    buffered: str = ""
    took_text: bool = False
    begun: int = 0
    open: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    spoke: bool = False
    over: bool = False

    def may(self) -> set[str]:
        """Calls that go on with the session; `FATAL` ones are legal as well where `may_fail` says so."""
        if self.over:
            return set()
        if not self.greeted:
            return {"created"}
        calls = {"updated"} if self.asked else set()
        if self.confirmed:
            calls |= {"committed", "cleared", "begin_response"}
            if self.begun:
                calls |= {"audio", "no audio", "end_response"}
            if self.heard_finish:
                calls.add("finished")
        return calls

    def next_call(self) -> str:
        """What a server would say that only wants to speak."""
        if not self.greeted:
            return "created"
        if not self.confirmed:
            return "updated"
        if self.heard_finish and not self.heard_text:
            return "finished"
        if not self.begun:
            return "begin_response"
        if not self.spoke:
            return "audio"
        return "end_response" if self.begun in self.open else "finished"

    def takes(self) -> set[str]:
        """Messages of a client that it does not refuse."""
        if not self.greeted or self.heard_finish:
            return set()
        messages = set() if self.heard_text else {"update"}
        if self.asked:
            messages |= {"append", "clear", "finish"}
            if self.holds_text:
                messages.add("commit")
        return messages


CLIENT_CALLS = ["configure", "configure (commit)", "append", "commit", "clear", "finish"]
SERVER_CALLS = [
    *("created", "updated", "committed", "cleared", "begin_response"),
    *("audio", "no audio", "end_response", "finished"),
]
MESSAGES = {
    "update": samples.message("session.update", session={"voice": "v"}),
    "append": samples.message("input_text_buffer.append", text="Hello."),
    "commit": samples.message("input_text_buffer.commit"),
    "clear": samples.message("input_text_buffer.clear"),
    "finish": samples.message("session.finish"),
}


class TwoEnds(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.frame_chars = 10_000
        self.start()

    def start(self) -> None:
        numbers = count(1)
        self.client = ClientSession()
        self.server = ServerSession(model="m", new_id=lambda prefix: f"{prefix}{next(numbers)}")
        self.up, self.down = wire_pair()
        self.said = ClientFacts()
        self.spoken = ServerFacts()
        self.on_the_way_up: deque[tuple[str, str]] = deque()
        self.on_the_way_down: deque[list[Heard]] = deque()
        self.steps = 0
        self.fatal_after = 0
        self.ended = False

    @precondition(lambda self: self.ended or not self.steps)
    @rule(fatal_after=PATIENCE_STEPS, frame_chars=st.integers(20, 10_000))
    def begin(self, fatal_after: int, frame_chars: int) -> None:
        self.start()
        self.steps, self.fatal_after, self.frame_chars = 1, fatal_after, frame_chars

    def may_go_wrong(self) -> bool:
        return not self.ended and (self.steps > self.fatal_after > 0 or self.said.outcome is not None)

    @invariant()
    def count_steps(self) -> None:
        self.steps += bool(self.steps)
        if self.up.pending and self.down.pending:
            took("words on the wire both ways")

    # ------------------------------------------------------------------------------------ the client speaks

    @precondition(lambda self: self.said.may())
    @rule(how=st.sampled_from(["on", "any", "about its text"]), choice=CHOICE, text=st.text("ab é", min_size=1))
    def client_speaks(self, how: str, choice: int, text: str) -> None:
        legal = sorted(self.said.may())
        call = legal[choice % len(legal)]
        if how == "on" and self.said.next_call() in legal:
            call = self.said.next_call()
        elif how == "about its text" and self.said.uncommitted:
            call = ("clear", "commit")[choice % 2]
        self.speak_as_client(call, text)

    def speak_as_client(self, call: str, text: str) -> None:
        self.up.send(self.call_client(call, text), self.frame_chars)
        self.on_the_way_up.append((call, text))
        facts = self.said
        match call:
            case "configure" | "configure (commit)":
                facts.configured, facts.manual = True, call != "configure"
            case "append":
                facts.said_text = facts.uncommitted = True
            case "commit":
                facts.uncommitted = False
                took(f"a commit in mode {'commit' if facts.manual else 'server_commit'}")
            case "clear":
                facts.uncommitted = False
            case "finish":
                facts.finished = True
                facts.uncommitted = False

    def call_client(self, call: str, text: str = "Hello.") -> str:
        mode = "commit" if call == "configure (commit)" else "server_commit"
        calls: dict[str, Callable[[], str]] = {
            "append": lambda: self.client.append(text, "a"),
            "commit": lambda: self.client.commit("c"),
            "clear": lambda: self.client.clear("x"),
            "finish": lambda: self.client.finish("f"),
        }
        configure = SessionConfig("v", "mp3", 24_000, "Auto", mode)
        return calls.get(call, lambda: self.client.configure(configure, "u"))()

    def client_is_refused(self, choice: int) -> None:
        illegal = [call for call in CLIENT_CALLS if call not in self.said.may()]
        if not illegal:
            return
        before = states(self.client)
        with pytest.raises(LocalProtocolError, match="not allowed while"):
            self.call_client(illegal[choice % len(illegal)])
        assert states(self.client) == before
        took("a call that was refused to the client")

    # ------------------------------------------------------------------------------------ the server speaks

    @precondition(lambda self: self.spoken.may())
    @rule(
        how=st.sampled_from(["on", "on", "any", "more", "takes text", "takes text"]),
        choice=CHOICE,
        audio=st.binary(min_size=1),
    )
    def server_speaks(self, how: str, choice: int, audio: bytes) -> None:
        legal = sorted(self.spoken.may())
        call = legal[choice % len(legal)]
        if how == "on" and self.spoken.next_call() in legal:
            call = self.spoken.next_call()
        elif how == "more" and self.spoken.begun in self.spoken.ended:
            call = ("end_response", "begin_response", "audio")[choice % 3]
        elif how == "takes text" and self.spoken.buffered:
            return self.take_text(choice)
        return self.speak_as_server(call, audio)

    def take_text(self, choice: int) -> None:
        """As in mode server_commit, before the client asks: all of it, or some characters."""
        taken = self.server.take_text(choice if choice < 20 else None)
        assert self.spoken.buffered.startswith(taken)
        self.spoken.buffered = self.spoken.buffered[len(taken) :]
        self.spoken.took_text = True

    def speak_as_server(self, call: str, audio: bytes) -> None:
        self.say(self.call_server(call, audio), self.told(call, audio))

    def say(self, messages: list[str], told: list[list[Heard]]) -> None:
        assert len(messages) == len(told)
        for message in messages:
            self.down.send(message, self.frame_chars)
        self.on_the_way_down.extend(told)

    def call_server(self, call: str, audio: bytes = b"sound") -> list[str]:
        server = self.server
        calls: dict[str, Callable[[], list[str]]] = {
            "created": lambda: [server.created()],
            "updated": lambda: [server.updated()],
            "committed": lambda: [server.committed()],
            "cleared": lambda: [server.cleared()],
            "begin_response": server.begin_response,
            "audio": lambda: [server.audio(audio)],
            "no audio": lambda: [server.audio(b"")],
            "end_response": lambda: server.end_response(Usage(characters=3)),
            "finished": lambda: [server.finished()],
        }
        return calls[call]()

    def told(self, call: str, audio: bytes) -> list[list[Heard]]:
        """Move the model, and say what the client must make of each message of `call`."""
        facts = self.spoken
        match call:
            case "created":
                facts.greeted = True
                return [[(SessionOpened, self.server.session_id)]]
            case "updated":
                facts.confirmed = True
                if facts.heard_text:
                    took("a confirmation after the text was sent")
                return [[(SessionConfigured, self.server.mode)]]
            case "begin_response":
                if facts.open:
                    took("two responses at once")
                facts.begun += 1
                facts.open.add(facts.begun)
                return [[], [], []]
            case "audio":
                facts.spoke = True
                if facts.begun in facts.ended:
                    took("audio after its response had ended")
                return [[(AudioReceived, audio)]]
            case "end_response":
                return [[], [], [], self.told_of_the_end()]
            case "finished":
                facts.over = True
                return [[self.verdict()]]
        return [[]]

    def told_of_the_end(self) -> list[Heard]:
        facts = self.spoken
        facts.open.discard(facts.begun)
        if facts.begun in facts.ended:
            took("a response that ended twice")
            return []
        facts.ended.add(facts.begun)
        return [(ResponseFinished, None)]

    def verdict(self) -> Heard:
        if self.spoken.open:
            took("an end with a response left open")
            return SessionFailed, Fault.RESPONSE_FAILED
        if not self.spoken.spoke:
            took("an end without audio")
            return SessionFailed, Fault.NO_AUDIO
        return SessionFinished, (len(self.spoken.ended), 3 * len(self.spoken.ended))

    def server_is_refused(self, choice: int) -> None:
        illegal = [call for call in SERVER_CALLS if call not in self.spoken.may()]
        if not illegal:
            return
        before = states(self.server)
        with pytest.raises(LocalProtocolError, match="not allowed while"):
            self.call_server(illegal[choice % len(illegal)])
        assert states(self.server) == before
        took("a call that was refused to the server")

    # ------------------------------------------------------------------------------------ what nobody may

    @rule(who=st.sampled_from(["client", "server", "stranger"]), choice=CHOICE)
    def somebody_is_refused(self, who: str, choice: int) -> None:
        {"client": self.client_is_refused, "server": self.server_is_refused, "stranger": self.stranger_is_refused}[who](
            choice
        )

    # ------------------------------------------------------------------------------------ the wire

    @rule(directions=st.sampled_from(["up", "down", "both"]), size=PORTION_BYTES)
    def carry(self, directions: str, size: int) -> None:
        if directions != "down":
            self.carry_up(size)
        if directions != "up":
            self.carry_down(size)

    def carry_up(self, size: int) -> None:
        messages = self.up.deliver(size)
        note_delivery(messages, self.up.pending)
        for message in messages:
            call, text = self.on_the_way_up.popleft()
            assert [kind_of(output) for output in self.server.receive(message)] == self.asked_for(call, text)

    def asked_for(self, call: str, text: str) -> list[tuple[type[ServerOutput], object]]:
        """Move the model, and say what the server must make of `call`."""
        facts = self.spoken
        if facts.over:
            return []
        match call:
            case "append":
                facts.heard_text = facts.holds_text = True
                facts.buffered += text
                return [(TextAppended, text)]
            case "commit":
                facts.holds_text = False
                taken, facts.buffered = facts.buffered, ""
                return [(CommitRequested, taken)]
            case "clear":
                if facts.took_text:
                    took("a clear that came too late")
                facts.holds_text = False
                facts.buffered = ""
                return [(ClearRequested, None)]
            case "finish":
                facts.heard_finish = True
                taken, facts.buffered = facts.buffered, ""
                return [(FinishRequested, taken)]
        facts.asked = True
        return [(ConfigureRequested, None)]

    def carry_down(self, size: int) -> None:
        messages = self.down.deliver(size)
        note_delivery(messages, self.down.pending)
        for message in messages:
            told = self.on_the_way_down.popleft()
            if self.said.broken:
                with pytest.raises(RemoteProtocolError):
                    self.client.receive(message)
                continue
            outputs = self.client.receive(message)
            assert [kind_of(output) for output in outputs] == told
            for output in outputs:
                self.heard(output)

    def heard(self, output: Output) -> None:
        facts = self.said
        match output:
            case SessionOpened():
                facts.greeted = True
            case SessionFinished():
                took("a success")
                if facts.send_failed:
                    took("a failed send after the finish, and a success")
                facts.muted, facts.outcome = True, output
            case SessionFailed():
                if facts.send_failed:
                    took("a failed send, and the reason was heard")
                facts.muted, facts.outcome = True, output

    # ------------------------------------------------------------------------------------ what goes wrong

    @precondition(lambda self: self.may_go_wrong())
    @rule(choice=CHOICE)
    def something_goes_wrong(self, choice: int) -> None:
        possible: list[Callable[[], None]] = [self.the_socket_ends]
        if not self.spoken.over:
            possible.append(self.server_fails)
            if self.spoken.begun:
                possible += [self.a_response_fails] * 2
        if self.said.outcome is None and not self.said.broken:
            possible.append(lambda: self.a_stranger_writes_to_the_client(choice))
        possible[choice % len(possible)]()

    def server_fails(self) -> None:
        took(f"an error {'later' if self.spoken.greeted else 'before the greeting'}")
        self.say([self.server.error("InternalError", "words")], [[(SessionFailed, Fault.OVERLOADED)]])
        self.spoken.over = True

    def a_response_fails(self) -> None:
        took("a failed response")
        messages = self.server.end_response(Usage(), "failed")
        self.say(messages, [[], [], [], [(SessionFailed, Fault.RESPONSE_FAILED)]])
        self.spoken.over = True

    def stranger_is_refused(self, choice: int) -> None:
        """A client of another make says what it may not; the server refuses it, and nothing has moved."""
        illegal = [] if self.spoken.over else [name for name in MESSAGES if name not in self.spoken.takes()]
        if not illegal:
            return
        before = states(self.server)
        [refused] = self.server.receive(MESSAGES[illegal[choice % len(illegal)]])
        assert isinstance(refused, Refused)
        assert states(self.server) == before
        took("a message that the server refused")

    def a_stranger_writes_to_the_client(self, choice: int) -> None:
        """A server of another make says what it may not: the session is broken, and stays so."""
        illegal: list[str | bytes] = [
            samples.delta(response_id="resp_nobody"),
            samples.audio_done("resp_nobody"),
            "{",
            b"\xff",
        ]
        illegal += [samples.CREATED] if self.said.greeted else [samples.UPDATED, samples.CLEARED]
        if not self.said.finished:
            illegal.append(samples.FINISHED)
        with pytest.raises(RemoteProtocolError):
            self.client.receive(illegal[choice % len(illegal)])
        self.said.broken = self.said.muted = True
        took("a message that broke the client's session")

    @precondition(lambda self: self.said.finished or self.may_go_wrong())
    @precondition(lambda self: not self.ended and not self.said.send_failed and self.said.outcome is None)
    @rule()
    def a_send_fails(self) -> None:
        self.client.send_failed()
        self.said.send_failed = True
        self.said.muted = self.said.muted or not self.said.finished

    def the_socket_ends(self) -> None:
        outcome = self.said.outcome
        failure = self.client.closed(1006)
        self.server.closed()
        if isinstance(outcome, SessionFinished):
            assert failure is None
            took("a cut after a success")
        elif isinstance(outcome, SessionFailed):
            assert failure is outcome.failure
        else:
            assert failure is not None
            assert (failure.fault is Fault.PROTOCOL_BROKEN) == self.said.broken
            took(f"a cut {'in the middle' if self.said.greeted else 'before the greeting'}")
        self.ended = self.said.muted = self.said.broken = self.spoken.over = True

    @invariant()
    def the_ends_agree_with_the_model(self) -> None:
        assert self.client.finished == isinstance(self.said.outcome, SessionFinished)
        assert self.server.over == self.spoken.over
        assert self.server.buffered == self.spoken.buffered


def note_delivery(messages: list[str], left: int) -> None:
    if len(messages) > 1:
        took("several messages in one delivery")
    if not messages and left:
        took("one message in several deliveries")


def states(end: ClientSession | ServerSession) -> tuple[object, ...]:
    machine = end._machine
    return machine.sending, machine.input_buffer, machine.session, machine.audio, dict(machine.responses)


def kind_of(output: Output | ServerOutput) -> tuple[type, object]:
    """An output as the model writes it."""
    carried: object = None
    match output:
        case SessionOpened():
            carried = output.session_id
        case SessionConfigured():
            carried = output.session.mode
        case AudioReceived():
            carried = output.data
        case SessionFinished():
            carried = (output.responses, output.characters)
        case SessionFailed():
            carried = output.failure.fault
        case TextAppended() | CommitRequested() | FinishRequested():
            carried = output.text
    return type(output), carried


@pytest.mark.slow
@pytest.mark.timeout(300)  # it takes 12 s; measuring coverage on a busy machine makes that many more
def test_two_ends_agree_with_a_plain_model_and_take_every_rare_path() -> None:
    RARE.clear()
    run_state_machine_as_test(
        TwoEnds,
        settings=settings(
            max_examples=500,
            stateful_step_count=100,
            derandomize=True,  # whether a rare path occurs must not be a matter of luck
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    assert {path for path in REQUIRED if not RARE[path]} == set()
    assert set(RARE) == REQUIRED
