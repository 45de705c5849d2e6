"""Requests that nobody would think of, made up from `/api/openapi.json` by schemathesis, over a real socket.

`make test` sends a few hundred in each mode, always the same ones; `make fuzz` sends UTTER_FUZZ_CASES in each, from a
seed that it prints and that UTTER_FUZZ_SEED repeats.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response

from gateway.openapi import describe
from gateway.routes import API
from tests.contract.rows import MODES
from tests.contract.things import Generation, Names, Preview, ReadLink, Task, Thing, Upload, UploadLink, Voice
from tests.contract.world import User, World, open_world
from tests.support.emulator import wav_recording

SHORT_CASES = 250
"""In each mode, with `make test`."""

FIXED_SEED = 20_260_401
"""Of the short form: the same requests each time, so that a failure is the change's."""

READ_SECONDS = 60.0
"""Longest silence of one answer; a stream of 2000 characters takes seconds at the emulator's pace."""

FAILING = {("post_transcriptions", 503)}
"""The answers above 499 that need no fault and no limit: an operation that is not offered."""

UNHURRIED = {"UTTER_MAX_CONCURRENT_GENERATIONS": "10000", "UTTER_CIRCUIT_FAILURES": "10000"}
"""Limits that so many requests would meet, out of the way."""

FAULTY_CASES = 30
"""With each of the provider's failures."""

AT_A_PROVIDER = frozenset(
    {
        "post_generate",
        "post_generate_stream",
        "post_clone_finalize",
        "post_voices_design_preview",
        "post_voices_reclone",
    }
)
"""Operations that ask a provider before they answer."""

CHECKED = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(3600)]

MAKERS: dict[str, Thing] = {
    "voice_id": Voice(),
    "generation_id": Generation(),
    "task_id": Task({"type": "generate_stream"}),  # of which somebody may have several
    "ended_task": Task({"type": "generate_stream", "status": "completed"}),
    "preview": Preview(),
    "upload": Upload(),
}

OPERATIONS = schemathesis.openapi.from_dict(describe(API))

AnyCase = Case[Any]
AnyOperation = APIOperation[Any, Any, Any, Any]

load_all_checks()
_RECORDINGS = st.sampled_from([wav_recording(1.0), b"", b"RIFF", b"\xff\xfb\x90\x00" * 50]) | st.binary(max_size=2000)
schemathesis.openapi.media_type("audio/wav", _RECORDINGS, aliases=["audio/mpeg", "audio/mp4"])


@dataclass
class Pool:
    """Somebody and what is theirs, so that made-up requests also reach rows that are there."""

    world: World
    owner: User
    _made: dict[str, str] = field(default_factory=dict)
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)

    def one(self, name: str) -> str | None:
        """The id of something that exists, None for what nothing can be made of."""
        if name not in self._made and name in MAKERS:
            self._made[name] = MAKERS[name].make(self.world, self.owner, self._names)
        return self._made.get(name)

    def link(self, method: str) -> tuple[str, str, str]:
        """Bucket, key and token of a signed address that works."""
        maker: Thing = ReadLink() if method == "GET" else UploadLink()
        address = urlsplit(maker.make(self.world, self.owner, self._names))
        bucket, _, key = address.path.partition("/objects/")[2].partition("/")
        return bucket, unquote(key), parse_qs(address.query)["token"][0]

    def forget(self, case: AnyCase) -> None:
        """What this request changed is gone, has ended, or was used up."""
        used = case.path_parameters or {} if case.method == "DELETE" or "cancel" in case.path else {}
        for name in [*used, *(["upload"] if "finalize" in case.path else [])]:
            self._made.pop(name, None)

    @property
    def _names(self) -> Names:
        return {"owner": str(self.owner.id), "mode": self.world.mode}


@pytest.fixture(params=MODES, scope="module")
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """A product of these tests' own, whose limits are out of the way."""
    with open_world(request.param, **UNHURRIED) as world:
        yield Pool(world, world.user())


def cases(names: Collection[str] | None = None) -> st.SearchStrategy[AnyCase]:
    """Any operation, or any of those named, with what its schema allows and with what it does not."""
    operations = [result.ok() for result in OPERATIONS.get_all_operations() if isinstance(result, Ok)]
    wanted = [operation for operation in operations if names is None or name_of(operation) in names]
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    return st.one_of(*(operation.as_strategy(generation_mode=mode) for operation in wanted for mode in modes))


def name_of(operation: AnyOperation) -> str:
    found: str = operation.definition.raw["operationId"]
    return found


def how_many() -> tuple[int, int]:
    """Cases and seed of this run."""
    wanted = os.environ.get("UTTER_FUZZ_CASES")
    if wanted is None:
        return SHORT_CASES, FIXED_SEED
    return int(wanted), int(os.environ.get("UTTER_FUZZ_SEED") or secrets.randbits(32))


def test_no_request_gets_an_answer_that_is_not_described(pool: Pool) -> None:
    wanted, of_seed = how_many()
    callers = st.sampled_from(["owner", "owner", "owner", "owner", "stranger", "forged", "nobody"])
    with requests.Session() as session:
        session.trust_env = False

        @seed(of_seed)
        @settings(max_examples=wanted, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(cases(), callers, st.booleans())
        def one(case: AnyCase, who: str, existing: bool) -> None:
            judge(pool, case, send(pool, session, case, who, existing=existing), FAILING)

        try:
            one()
        finally:
            print(f"{pool.seen.total()} requests in {pool.world.mode} mode, UTTER_FUZZ_SEED={of_seed}")
    assert pool.seen.total() >= wanted
    if wanted >= 20 * len(API):  # with fewer, chance may leave one out
        assert {name for name, _ in pool.seen} == {row.name for row in API}
        succeeded = {name for name, status in pool.seen if status < 400}
        assert succeeded >= {"get_voices", "post_generate", "delete_voices_by_id", "put_objects", "post_clone_finalize"}


@pytest.mark.parametrize(("fault", "of"), [("arrears", "*"), ("rest_500", "customization"), ("modal_500", "modal")])
def test_a_provider_that_fails_is_a_described_answer(pool: Pool, fault: str, of: str) -> None:
    with requests.Session() as session, pool.world.faults(fault, voice=of):
        session.trust_env = False

        @seed(FIXED_SEED)
        @settings(max_examples=FAULTY_CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(cases(AT_A_PROVIDER))
        def one(case: AnyCase) -> None:
            answer = send(pool, session, case, "owner", existing=True)
            judge(pool, case, answer, {(name, status) for name in AT_A_PROVIDER for status in (502, 503, 504)})

        one()


def send(pool: Pool, session: requests.Session, case: AnyCase, who: str, *, existing: bool) -> Response:
    """One request, half of them about things that exist."""
    if existing:
        aim(pool, case)
    callers = {"owner": pool.owner, "stranger": pool.world.stranger, "forged": pool.world.forged(pool.owner)}
    caller = callers.get(who)
    case.headers.pop("Authorization", None)
    answer = case.call(
        base_url=f"{pool.world.stack.base_url}/api",
        session=session,
        headers=caller.headers if caller else None,
        timeout=READ_SECONDS,
        allow_redirects=False,  # where it leads is another operation
    )
    if answer.status_code < 300:
        pool.forget(case)
    return answer


def aim(pool: Pool, case: AnyCase) -> None:
    """Put things that exist where the case names things."""
    if "{bucket}" in case.path:
        bucket, key, token = pool.link(case.method)
        case.path_parameters = {"bucket": bucket, "key": quote(key, safe="")}
        case.query = {"token": token}
        return
    for name in case.path_parameters or {}:
        # The events of a task that goes on have no end either.
        found = pool.one("ended_task" if case.path.endswith("/events") else name)
        if found is not None:
            case.path_parameters[name] = found
    if isinstance(case.body, dict):
        uploaded = "finalize" in case.path
        wanted = {"voice_id": "upload" if uploaded else "voice_id", "task_id": "preview"}
        case.body.update({name: pool.one(thing) for name, thing in wanted.items() if name in case.body})
        if "language" in case.body:
            case.body["language"] = "English"


def judge(pool: Pool, case: AnyCase, answer: Response, failing: Collection[tuple[str, int]]) -> None:
    """Nothing is broken but what is `failing`, and the document knows this answer."""
    name = name_of(case.operation)
    pool.seen[name, answer.status_code] += 1
    if answer.status_code >= 500:
        assert (name, answer.status_code) in failing, (answer.content[:300], case.as_curl_command())
    checks: list[Any] = [CHECKS.get_one(check) for check in CHECKED]
    case.validate_response(answer, checks=checks)
