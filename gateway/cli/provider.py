"""`utter voices provider` and `utter voices quota`: what the account at Qwen keeps, and removing some of it.

Users never delete anything there (product decision 10). These commands are the only ones that do.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from gateway.cli.deployment import AS_JSON, DEPLOYMENT, find_settings, run
from gateway.cli.target import fail

if TYPE_CHECKING:  # they bring the whole gateway along
    from gateway.settings import Settings
    from protocol.customization_answers import ListedVoice

ACCOUNT_VOICES = 1000
"""Voices that an account may have, both kinds together (protocol reference 3)."""

KINDS = ("vc", "vd")

Kind = Annotated[str | None, typer.Option(help="vc: cloned, vd: designed.")]
VoiceId = Annotated[str, typer.Argument(help="The provider's id of the voice, as `list` shows it.")]

app = typer.Typer(help="What the account at the speech provider keeps.", no_args_is_help=True)


class ProviderVoice(msgspec.Struct, frozen=True):
    """A voice as the provider lists it; `created` is in a zone that it does not state."""

    voice: str
    kind: str
    target_model: str
    created: str | None
    language: str | None

    @classmethod
    def of(cls, kind: str, listed: ListedVoice) -> ProviderVoice:
        return cls(listed.voice, kind, listed.target_model, listed.gmt_create, listed.language)


class Quota(msgspec.Struct, frozen=True):
    """How full the account is."""

    used: int
    of: int
    cloned: int
    designed: int


class Deleted(msgspec.Struct, frozen=True):
    """What a deletion did."""

    voice: str
    deleted: bool


@app.command("list")
def list_voices(kind: Kind = None, as_json: AS_JSON = False, data_dir: DEPLOYMENT = None) -> None:
    """List the voices of the account.

    utter voices provider list --kind vd

    utter voices provider list --json | jq -r '.[].voice'
    """
    if kind is not None and kind not in KINDS:
        fail(f"{kind!r} is no kind of voice. Use vc for cloned ones, vd for designed ones.")
    found = run(lambda settings: read_voices(settings, KINDS if kind is None else (kind,)), _settings(data_dir))
    if as_json:
        _print_json(found)
        return
    for voice in found:
        typer.echo(_line(voice))
    typer.echo(f"{len(found)} voices", err=True)


@app.command()
def query(voice: VoiceId, kind: Kind = None, as_json: AS_JSON = False, data_dir: DEPLOYMENT = None) -> None:
    """Show one voice of the account.

    utter voices provider query qwen-tts-vd-ab12-voice-20260101120000-c35e
    """
    found = _find(voice, kind, _settings(data_dir))
    if as_json:
        _print_json(found)
    else:
        typer.echo(_line(found))


@app.command()
def delete(
    voice: VoiceId,
    kind: Kind = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AS_JSON = False,
    data_dir: DEPLOYMENT = None,
) -> None:
    """Delete one voice of the account, for good. Whoever speaks with it must clone or design it again.

    utter voices provider delete qwen-tts-vd-ab12-voice-20260101120000-c35e

    utter voices provider delete qwen-tts-vd-ab12-voice-20260101120000-c35e --yes --json
    """
    settings = _settings(data_dir)
    found = _find(voice, kind, settings)
    if not yes:
        _confirm(found)
    deleted = run(lambda given: _delete(given, found), settings)
    if as_json:
        _print_json(Deleted(found.voice, deleted))
    else:
        typer.echo(f"Deleted {found.voice}." if deleted else f"{found.voice} was gone already.")


def quota(as_json: AS_JSON = False, data_dir: DEPLOYMENT = None) -> None:
    """Show how many of the account's voices are used.

    utter voices quota

    utter voices quota --json
    """
    found = run(lambda settings: read_voices(settings, KINDS), _settings(data_dir))
    cloned = sum(voice.kind == "vc" for voice in found)
    report = Quota(len(found), ACCOUNT_VOICES, cloned, len(found) - cloned)
    if as_json:
        _print_json(report)
        return
    typer.echo(f"{report.used} of {report.of} voices used: {report.cloned} cloned, {report.designed} designed.")
    if report.used >= report.of:
        typer.echo("The account is full: no voice can be made. `utter orphans` lists those nobody uses.", err=True)


def _settings(data_dir: DEPLOYMENT) -> Settings:
    settings = find_settings(data_dir)
    if not settings.dashscope_api_key:
        fail(f"DASHSCOPE_API_KEY is not set. Set it to a key of the account at {settings.dashscope_base_url}.")
    return settings


def _find(voice: str, kind: str | None, settings: Settings) -> ProviderVoice:
    """The voice. Ends the command when there is none."""
    kind = kind or next((known for known in KINDS if f"-{known}-" in voice), None)
    if kind not in KINDS:
        fail(f"Nothing in {voice!r} says what kind of voice it is. Give --kind vc or --kind vd.")
    found = run(lambda given: _query(given, kind, voice), settings)
    if found is None:
        fail(f"The account has no voice {voice!r} of kind {kind}. `utter voices provider list` shows those it has.")
    return found


def _confirm(voice: ProviderVoice) -> None:
    typer.echo(_line(voice), err=True)
    # Not click's prompt, which writes to standard output: that belongs to --json.
    typer.echo("Delete it for good? Whoever uses it must make it again. [y/N] ", err=True, nl=False)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        fail("Nothing was deleted. Answer y, or give --yes.")


async def read_voices(settings: Settings, kinds: tuple[str, ...]) -> list[ProviderVoice]:
    """Everything of these kinds that the account keeps. Raises `ProviderFailure`."""
    from gateway.providers import VoiceKind, open_customization

    async with open_customization(settings) as customization:
        return [
            ProviderVoice.of(kind, listed)
            for kind in kinds
            for listed in await customization.list_voices(VoiceKind(kind))
        ]


async def _query(settings: Settings, kind: str, voice: str) -> ProviderVoice | None:
    """Cloned voices cannot be asked for one by one (protocol reference 3.3), so their list is searched."""
    from gateway.providers import VoiceKind, open_customization

    async with open_customization(settings) as customization:
        if VoiceKind(kind) is VoiceKind.DESIGNED:
            found = await customization.query_designed(voice)
        else:
            listed = await customization.list_voices(VoiceKind.CLONED)
            found = next((one for one in listed if one.voice == voice), None)
    return None if found is None else ProviderVoice.of(kind, found)


async def _delete(settings: Settings, voice: ProviderVoice) -> bool:
    from gateway.providers import VoiceKind, open_customization

    async with open_customization(settings) as customization:
        return await customization.delete(VoiceKind(voice.kind), voice.voice)


def _line(voice: ProviderVoice) -> str:
    return f"{voice.voice}  {voice.kind}  {voice.target_model}  {voice.created or ''}".rstrip()


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.encode(value).decode())
