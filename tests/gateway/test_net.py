"""Under which name a client reached us, and who counts as this machine."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from gateway.net import is_loopback_host, is_public_host, is_trusted_proxy, may_sign_itself_in, public_base_url

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - the very thing that must be told from this machine
PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def scope(client: str | None = "10.1.2.3", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "scheme": "http",
        "client": (client, 4711) if client else None,
        "server": ("192.0.2.1", 8080),
        "headers": raw,
    }


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST.", "app.localhost", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_this_machine(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize("host", ["", ANY_ADDRESS, "10.0.0.1", "::", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_not_this_machine(host: str) -> None:
    assert not is_loopback_host(host)


@pytest.mark.parametrize(
    "host", ["utter.example", "API.utter.example.", "8.8.8.8", "2606:4700::1111", "[2606:4700::1111]"]
)
def test_the_internet_may_reach_it(host: str) -> None:
    assert is_public_host(host)


@pytest.mark.parametrize("host", ["", "gateway", "localhost", "a.localhost", "printer.local", "a.internal", "x.test"])
def test_a_name_that_never_leaves_a_network(host: str) -> None:
    assert not is_public_host(host)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", ANY_ADDRESS, "::1", "[fd00::1]", "fe80::1"],
)
def test_an_address_that_never_does(host: str) -> None:
    assert not is_public_host(host)


@pytest.mark.parametrize(
    ("client", "trusted"),
    [("10.1.2.3", True), ("fd00::1", True), ("192.0.2.9", False), (None, False), ("unix", False)],
)
def test_only_listed_peers_are_proxies(client: str | None, trusted: bool) -> None:
    assert is_trusted_proxy(scope(client), PROXIES) is trusted


class TestPublicBaseUrl:
    def test_the_setting_wins(self) -> None:
        request = scope(host="other.example", x_forwarded_host="third.example")
        assert public_base_url(request, "https://utter.example", PROXIES) == "https://utter.example"

    def test_the_host_header_is_the_name(self) -> None:
        assert public_base_url(scope(host="utter.example:8443"), "", ()) == "http://utter.example:8443"

    def test_a_proxy_says_what_the_client_used(self) -> None:
        request = scope(host="inner:8080", x_forwarded_proto="https", x_forwarded_host="utter.example")
        assert public_base_url(request, "", PROXIES) == "https://utter.example"

    def test_a_stranger_s_forwarded_headers_are_ignored(self) -> None:
        request = scope("192.0.2.9", host="utter.example", x_forwarded_proto="https", x_forwarded_host="evil.example")
        assert public_base_url(request, "", PROXIES) == "http://utter.example"

    @pytest.mark.parametrize(
        ("host", "port", "expected"),
        [
            ("utter.example", "8443", "https://utter.example:8443"),
            ("utter.example", "443", "https://utter.example"),
            ("utter.example:9000", "8443", "https://utter.example:9000"),
            ("utter.example", "x", "https://utter.example"),
            ("[2001:db8::1]", "8443", "https://[2001:db8::1]:8443"),
        ],
    )
    def test_the_forwarded_port_completes_a_host_without_one(self, host: str, port: str, expected: str) -> None:
        request = scope(host="inner", x_forwarded_proto="https", x_forwarded_host=host, x_forwarded_port=port)
        assert public_base_url(request, "", PROXIES) == expected

    def test_of_a_chain_of_proxies_the_first_entry_counts(self) -> None:
        request = scope(host="inner", x_forwarded_proto="https, http", x_forwarded_host="a.example, b.example")
        assert public_base_url(request, "", PROXIES) == "https://a.example"

    @pytest.mark.parametrize("host", ["", "a b", "evil.example/path", "user@evil.example", 'x"y', "a:b:c"])
    def test_a_malformed_host_falls_back_to_the_socket(self, host: str) -> None:
        assert public_base_url(scope(host=host), "", ()) == "http://192.0.2.1:8080"

    def test_an_unknown_scheme_is_ignored(self) -> None:
        request = scope(host="utter.example", x_forwarded_proto="javascript")
        assert public_base_url(request, "", PROXIES) == "http://utter.example"


class TestSigningItselfIn:
    HERE = "127.0.0.1"

    @pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"])
    def test_the_page_on_this_machine_may(self, host: str) -> None:
        request = scope(self.HERE, host=host, origin=f"http://{host}", sec_fetch_site="same-origin")
        assert may_sign_itself_in(request, "127.0.0.1")

    def test_curl_on_this_machine_may(self) -> None:
        assert may_sign_itself_in(scope(self.HERE, host="localhost:8080"), "localhost")

    @pytest.mark.parametrize("bind", [ANY_ADDRESS, "::", "192.0.2.1"])
    def test_not_on_an_open_bind(self, bind: str) -> None:
        assert not may_sign_itself_in(scope(self.HERE, host="localhost:8080"), bind)

    def test_not_from_another_machine(self) -> None:
        assert not may_sign_itself_in(scope("192.0.2.9", host="localhost:8080"), "127.0.0.1")
        assert not may_sign_itself_in(scope(None, host="localhost:8080"), "127.0.0.1")

    @pytest.mark.parametrize("host", ["evil.example:8080", "localhost.evil.example", "", "localhost:8080@evil.example"])
    def test_not_under_a_foreign_name(self, host: str) -> None:
        assert not may_sign_itself_in(scope(self.HERE, host=host), "127.0.0.1")

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999"])
    def test_not_for_a_foreign_page(self, origin: str) -> None:
        assert not may_sign_itself_in(scope(self.HERE, host="localhost:8080", origin=origin), "127.0.0.1")

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_not_when_the_browser_says_it_comes_from_elsewhere(self, site: str) -> None:
        assert not may_sign_itself_in(scope(self.HERE, host="localhost:8080", sec_fetch_site=site), "127.0.0.1")
