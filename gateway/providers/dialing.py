"""Opening connections to the Qwen realtime API, and what a refusal means."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from urllib.parse import urlencode

import anyio

from gateway.providers.realtime_connection import RealtimeConnection
from gateway.providers.sockets import SocketKeeper
from gateway.tracing import Trace
from gateway.transports import TransportUnreachable, UpgradeRefused
from protocol.errors import Fault, ProviderFailure, VendorError
from protocol.vendor_codes import classify
from protocol.vendor_words import Envelope, read_envelope, refusal_error

USER_AGENT = f"utter-gateway/{version('utter-gateway')}"
"""Sent for the vendor's source tracking (protocol reference 1.1)."""


@dataclass(frozen=True, slots=True)
class QwenAccount:
    """Where the realtime API is and as whom we call it. `realtime_url` has no query; `workspace` may be ""."""

    realtime_url: str
    api_key: str = field(repr=False)
    workspace: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the upgrade (protocol reference 1.1)."""
        headers = {"Authorization": f"Bearer {self.api_key}", "User-Agent": USER_AGENT}
        return {**headers, "X-DashScope-WorkSpace": self.workspace} if self.workspace else headers


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens connections for `account` that `sockets` owns."""

    account: QwenAccount
    sockets: SocketKeeper

    async def dial(self, model: str, trace: Trace, patience: float) -> RealtimeConnection:
        """A connection for one session with `model`; its server has not spoken yet. `patience` in seconds.

        Raises `ProviderFailure`.
        """
        url = f"{self.account.realtime_url}?{urlencode({'model': model})}"
        try:
            with anyio.fail_after(patience):
                headers = {**self.account.headers, **trace.outgoing_headers()}
                return RealtimeConnection(await self.sockets.open(url, headers))
        except UpgradeRefused as refused:
            # The body is not documented (protocol reference 1.2): the REST envelope is read where it is one.
            vendor = refusal_error(refused.status, read_envelope(refused.body, Envelope))
            raise ProviderFailure(classify(vendor), vendor) from refused
        except TransportUnreachable as unreachable:
            raise ProviderFailure(Fault.UNREACHABLE, VendorError(message=str(unreachable))) from unreachable
        except TimeoutError as timeout:
            raise ProviderFailure(Fault.CONNECT_TIMEOUT) from timeout

    async def dial_and_listen(self, model: str, patience: float) -> RealtimeConnection:
        """As `dial`, and the server has said that a session is open; nothing was sent, so nothing is billed."""
        deadline = anyio.current_time() + patience
        connection = await self.dial(model, Trace(), patience)
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                await connection.opened()
        except TimeoutError as timeout:
            connection.drop()
            raise connection.session.failure(Fault.CONNECT_TIMEOUT) from timeout
        except BaseException:
            connection.drop()
            raise
        return connection
