"""What the ledger of creates promises: outcome and task in one transaction, no effect of late words, nothing silent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import anyio.to_thread
import pytest
from structlog.testing import capture_logs

from gateway.errors import ApiError
from gateway.providers.qwen_customization import AmbiguousCreate
from gateway.studio import creates as ledger
from gateway.studio.creates import Creates
from protocol.customization_answers import CreatedVoice
from protocol.errors import Fault, ProviderFailure
from schema.records import Claim
from storage.database import Transaction
from tests.gateway.studio.atelier import PREVIEW, Atelier
from tests.support.gateway import Caller
from tests.support.rows import new_create

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

MADE = CreatedVoice("qwen-tts-vd-made", "a-model", "req-1", billed=1)
FAILURE = ProviderFailure(Fault.CONTENT_REFUSED)


@pytest.fixture
def opened(atelier: Atelier) -> Creates:
    return atelier.creates


@pytest.fixture
async def claim(opened: Creates, ada: Caller) -> Claim:
    """Of a design."""
    return await opened.claim(new_create(ada.id))


async def fails(_: Transaction) -> None:
    raise RuntimeError("the task cannot be written")


async def never() -> CreatedVoice:
    await anyio.sleep_forever()
    return MADE


Write = Callable[[Creates, Claim], Awaitable[None]]


async def as_created(opened: Creates, claim: Claim) -> None:
    await opened.record(claim.create, MADE, also=fails)


async def as_failed(opened: Creates, claim: Claim) -> None:
    await opened.record_failure(claim.create, FAILURE, also=fails)


@pytest.mark.parametrize("write", [as_created, as_failed])
async def test_an_outcome_stands_only_together_with_its_task(
    atelier: Atelier, opened: Creates, ada: Caller, claim: Claim, write: Write
) -> None:
    """Else a crash between the two would leave a task that nobody ever ends: only claims are recovered."""
    with pytest.raises(RuntimeError):
        await write(opened, claim)
    assert (await atelier.ledger(ada.id, claim.create.id)).state == "claimed"


@pytest.mark.parametrize("ending", ["completed", "failed"])
async def test_no_task_outlives_its_create(atelier: Atelier, ada: Caller, ending: str) -> None:
    """Whoever sees the ledger's last word sees the task's."""
    await atelier.script(_TASK_MUST_END)
    if ending == "failed":
        atelier.order("content_blocked")
    task_id = await atelier.studio.start_preview(ada.id, PREVIEW)
    assert (await atelier.ended(ada.id, task_id))[0] == ending


_TASK_MUST_END = """
create function utter.task_must_have_ended() returns trigger language plpgsql security definer as $$
begin
  if exists (select from public.tasks where id = new.id and status in ('pending', 'processing')) then
    raise exception 'the ledger says % and the task goes on', new.state;
  end if;
  return null;
end $$;
create constraint trigger task_must_have_ended after update on utter.voice_creates
  deferrable initially deferred for each row when (new.state <> 'claimed')
  execute function utter.task_must_have_ended();
"""
"""Asked at the commit."""


async def test_the_late_word_of_an_earlier_claim(atelier: Atelier, opened: Creates, ada: Caller, claim: Claim) -> None:
    """It would free a create that is being sent, and end a task that is being made."""
    await atelier.let_claims_run_out()
    later = await opened.claim(new_create(ada.id, "vd", claim.create.id))
    assert (later.granted, later.recover) == (True, True)
    await opened.record_failure(claim.create, FAILURE, also=fails)
    assert (await atelier.ledger(ada.id, claim.create.id)).state == "claimed"


class TestSending:
    async def send(self, opened: Creates, claim: Claim, outcome: ProviderFailure | None = None) -> CreatedVoice:
        async def create() -> CreatedVoice:
            if outcome is not None:
                raise outcome
            return MADE

        return await opened.send(claim, create)

    async def test_a_first_claim_is_sent_without_looking(self, atelier: Atelier, opened: Creates, claim: Claim) -> None:
        assert await self.send(opened, claim) == MADE
        assert atelier.front.actions() == []

    async def test_a_second_one_looks_first(self, atelier: Atelier, opened: Creates, ada: Caller, claim: Claim) -> None:
        await atelier.let_claims_run_out()
        later = await opened.claim(new_create(ada.id, "vd", claim.create.id))
        assert await self.send(opened, later) == MADE
        assert atelier.front.actions() == ["list"]

    async def test_a_second_one_that_cannot_look_sends_nothing(
        self, atelier: Atelier, opened: Creates, ada: Caller, claim: Claim
    ) -> None:
        await atelier.let_claims_run_out()
        later = await opened.claim(new_create(ada.id, "vd", claim.create.id))
        atelier.order("wrong_key", action="list")
        with pytest.raises(AmbiguousCreate):
            await self.send(opened, later)
        await opened.record_failure(later.create, AmbiguousCreate(FAILURE))
        assert (await atelier.ledger(ada.id, claim.create.id)).state == "ambiguous"

    async def test_it_ends_before_its_claim_does(
        self, opened: Creates, claim: Claim, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A second sender begins when the claim has run out, and the first must have stopped by then."""
        assert ledger.SEND_SECONDS < ledger.CLAIM_SECONDS
        monkeypatch.setattr(ledger, "SEND_SECONDS", 0.05)
        with pytest.raises(AmbiguousCreate) as raised:
            await opened.send(claim, never)
        assert raised.value.fault is Fault.ANSWER_TIMEOUT

    @pytest.mark.parametrize(
        ("failure", "state", "recover"),
        [(FAILURE, "refused", False), (AmbiguousCreate(FAILURE), "ambiguous", True)],
    )
    async def test_what_the_next_claim_is_told(
        self,
        atelier: Atelier,
        opened: Creates,
        ada: Caller,
        claim: Claim,
        failure: ProviderFailure,
        state: str,
        recover: bool,
    ) -> None:
        with pytest.raises(ProviderFailure):
            await self.send(opened, claim, failure)
        await opened.record_failure(claim.create, failure)
        assert (await atelier.ledger(ada.id, claim.create.id)).state == state
        again = await opened.claim(new_create(ada.id, "vd", claim.create.id))
        assert (again.granted, again.recover) == (True, recover)


class TestOrphansAreLogged:
    async def logged(self, work: Awaitable[None]) -> list[str]:
        with capture_logs() as lines, suppress(RuntimeError):
            await work
        return [line["provider_voice_id"] for line in lines if line["event"] == "voice.orphaned"]

    async def test_not_what_is_written_down(self, opened: Creates, claim: Claim) -> None:
        assert await self.logged(opened.record(claim.create, MADE)) == []
        assert await self.logged(opened.record(claim.create, MADE)) == [], "said twice, and the same"

    async def test_what_another_process_made_instead(self, opened: Creates, claim: Claim) -> None:
        await opened.record(claim.create, MADE)
        other = CreatedVoice("qwen-tts-vd-other", "a-model", "req-2", billed=1)
        assert await self.logged(opened.record(claim.create, other)) == ["qwen-tts-vd-other"]

    async def test_what_cannot_be_written(self, opened: Creates, claim: Claim) -> None:
        assert await self.logged(opened.record(claim.create, MADE, also=fails)) == ["qwen-tts-vd-made"]

    async def test_what_a_stopping_server_could_not_write(self, opened: Creates, claim: Claim) -> None:
        async def stopped() -> None:
            with anyio.move_on_after(0.05):
                await opened.record(claim.create, MADE, also=lambda _: anyio.sleep_forever())

        assert await self.logged(stopped()) == ["qwen-tts-vd-made"]

    async def test_of_a_user_who_is_gone(self, atelier: Atelier, opened: Creates, ada: Caller, claim: Claim) -> None:
        await opened.record(claim.create, MADE)
        await atelier.sql("delete from auth.users where id = $1", ada.id)
        assert await self.logged(opened.record(claim.create, MADE)) == ["qwen-tts-vd-made"], "nobody can tell any more"


async def test_a_claim_is_its_users(opened: Creates, bob: Caller, claim: Claim) -> None:
    with pytest.raises(ApiError) as raised:
        await opened.claim(new_create(bob.id, "vd", claim.create.id))
    assert raised.value.status == 404
