"""Settings from an environment mapping: values, derivations, refusals, and what may be shown."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.audio_memory import BUDGET_BYTES
from gateway.settings import Environment, ProviderMode, Settings, SettingsError, describe, load_settings
from gateway.settings.kinds import variable_of
from gateway.settings.names import LogLevel, UpstreamFormat

SECRET = "k" * 32
LOCAL = {"UTTER_ENV": "local", "DATABASE_URL": "postgresql:///utter", "UTTER_TOKEN_SECRET": SECRET}
DEPLOYED = {
    "DATABASE_URL": "postgresql://utter:hunter2@db.example/utter",
    "SUPABASE_JWT_SECRET": SECRET,
    "UTTER_SIGNING_SECRET": SECRET,
    "DASHSCOPE_API_KEY": "sk-real",
}
STAGING = {"UTTER_ENV": "staging", **DEPLOYED}
PRODUCTION = {"UTTER_ENV": "production", **DEPLOYED}


def problems_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return caught.value.problems


def only_problem(environ: dict[str, str]) -> str:
    problems = problems_of(environ)
    assert len(problems) == 1, problems
    return problems[0]


class TestValues:
    def test_defaults_are_the_product_s_numbers(self) -> None:
        settings = load_settings(PRODUCTION)
        assert settings.dashscope_base_url == "https://dashscope-intl.aliyuncs.com"
        assert settings.vc_target_model == "qwen3-tts-vc-realtime-2026-01-15"
        assert settings.vd_target_model == "qwen3-tts-vd-realtime-2026-01-15"
        assert (settings.enrollment_model, settings.design_model) == ("qwen-voice-enrollment", "qwen-voice-design")
        assert settings.max_text_chars == 2000
        assert (settings.first_audio_seconds, settings.connect_seconds) == (30.0, 5.0)
        assert (settings.delta_gap_seconds, settings.session_seconds) == (20.0, 1200.0)
        assert (settings.write_stall_seconds, settings.token_write_stall_seconds) == (30.0, 600.0)
        assert (settings.starts_per_second, settings.starts_per_minute) == (3, 180)
        assert settings.signed_url_seconds == 3600.0
        assert settings.enable_generate_stream
        assert not settings.enable_generate_mode_toggle
        assert settings.cors_allowed_origin == ("*",)

    def test_a_blank_variable_counts_as_unset(self) -> None:
        assert load_settings({**LOCAL, "QWEN_MAX_TEXT_CHARS": "  "}).max_text_chars == 2000

    @pytest.mark.parametrize(("word", "value"), [("true", True), ("ON", True), ("1", True), ("no", False)])
    def test_switches_take_the_usual_words(self, word: str, value: bool) -> None:
        assert load_settings({**LOCAL, "ENABLE_GENERATE_MODE_TOGGLE": word}).enable_generate_mode_toggle is value

    def test_lists_and_networks(self) -> None:
        settings = load_settings(
            {
                **LOCAL,
                "CORS_ALLOWED_ORIGIN": "https://a.example, http://localhost:3000/",
                "UTTER_TRUSTED_PROXIES": "10.0.0.0/8,::1",
            }
        )
        assert settings.cors_allowed_origin == ("https://a.example", "http://localhost:3000")
        assert settings.trusted_proxies == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))

    def test_prices_are_dollars(self) -> None:
        given = load_settings({**LOCAL, "QWEN_CLONE_PRICE_USD": "0.02", "QWEN_DESIGN_PRICE_USD": "0"})
        assert (given.clone_price_usd, given.design_price_usd) == (0.02, 0.0)

    @pytest.mark.parametrize("price", ["-0.01", "free", "nan", "1001"])
    def test_what_is_no_price(self, price: str) -> None:
        with pytest.raises(SettingsError, match="a number of US dollars from 0 to 1000"):
            load_settings({**LOCAL, "QWEN_CLONE_PRICE_USD": price})

    def test_it_cannot_be_changed(self) -> None:
        settings = load_settings(LOCAL)
        with pytest.raises(dataclasses.FrozenInstanceError):
            settings.bind_port = 1  # type: ignore[misc]  # that it is frozen is the point

    def test_every_field_but_the_sources_has_a_variable_of_its_own(self) -> None:
        declared = [facts.name for field in dataclasses.fields(Settings) if (facts := variable_of(field))]
        assert len(declared) == len(set(declared)) == len(dataclasses.fields(Settings)) - 1


class TestDerivation:
    @pytest.mark.parametrize(("environ", "mode"), [(LOCAL, "modal"), (STAGING, "qwen"), (PRODUCTION, "qwen")])
    def test_the_unset_mode_follows_the_environment(self, environ: dict[str, str], mode: str) -> None:
        assert load_settings(environ).provider_mode is ProviderMode(mode)

    def test_the_realtime_url_follows_the_base_url(self) -> None:
        assert (
            load_settings(PRODUCTION).dashscope_realtime_url == "wss://dashscope-intl.aliyuncs.com/api-ws/v1/realtime"
        )
        emulated = load_settings({**LOCAL, "DASHSCOPE_BASE_URL": "http://127.0.0.1:9001"})
        assert emulated.dashscope_realtime_url == "ws://127.0.0.1:9001/api-ws/v1/realtime"

    def test_a_realtime_url_of_its_own_wins(self) -> None:
        given = "ws://127.0.0.1:9002/api-ws/v1/realtime"
        assert load_settings({**LOCAL, "DASHSCOPE_REALTIME_URL": given}).dashscope_realtime_url == given

    def test_a_new_pin_strands_no_voice(self) -> None:
        settings = load_settings({**PRODUCTION, "QWEN_VC_TARGET_MODEL": "vc-next"})
        assert settings.accepted_vc_models == ("qwen3-tts-vc-realtime-2026-01-15", "vc-next")

    def test_the_pin_is_accepted_even_when_the_list_forgets_it(self) -> None:
        settings = load_settings({**PRODUCTION, "QWEN_ACCEPTED_VD_MODELS": "old, older"})
        assert settings.accepted_vd_models == ("old", "older", "qwen3-tts-vd-realtime-2026-01-15")

    def test_listen_url_objects_and_spool_have_defaults_of_their_surroundings(self) -> None:
        settings = load_settings({**LOCAL, "UTTER_DATA_DIR": "/srv/utter"})
        assert settings.database_listen_url == "postgresql:///utter"
        assert settings.objects_url == "/srv/utter/objects"
        assert settings.spool_dir == Path("/srv/utter/spool")
        assert settings.audio_memory_bytes == BUDGET_BYTES

    def test_local_derives_a_signing_secret_that_is_not_the_token_secret(self) -> None:
        settings = load_settings(LOCAL)
        assert len(settings.signing_secret) >= 32
        assert settings.signing_secret != SECRET
        assert settings.signing_secret == load_settings(LOCAL).signing_secret

    def test_the_page_signs_itself_in_only_where_there_is_something_to_sign_with(self) -> None:
        assert load_settings(LOCAL).dev_tokens
        supabase = {**LOCAL, "UTTER_TOKEN_SECRET": "", "SUPABASE_JWT_SECRET": SECRET}
        assert not load_settings(supabase).dev_tokens
        assert any("UTTER_TOKEN_SECRET" in problem for problem in problems_of({**supabase, "UTTER_DEV_TOKENS": "on"}))


class TestProblems:
    def test_all_are_reported_at_once_and_each_names_its_variable(self) -> None:
        problems = problems_of(
            {
                "UTTER_ENV": "prod",
                "TTS_PROVIDER_MODE": "both",
                "QWEN_MAX_TEXT_CHARS": "2001",
                "UTTER_CONNECT_SECONDS": "nan",
                "UTTER_BIND_PORT": "eighty",
                "UTTER_TRUSTED_PROXIES": "10.0.0.1/8",
            }
        )
        names = [problem.split()[0] for problem in problems]
        assert names == [
            "UTTER_ENV",
            "TTS_PROVIDER_MODE",
            "QWEN_MAX_TEXT_CHARS",
            "DATABASE_URL",
            "UTTER_TRUSTED_PROXIES",
            "UTTER_BIND_PORT",
            "UTTER_CONNECT_SECONDS",
        ]
        assert all(" Set it to " in problem for problem in problems)

    def test_the_error_reads_as_a_list(self) -> None:
        with pytest.raises(SettingsError, match=r"cannot be used:\n  - UTTER_ENV is not set\. Set it to local or"):
            load_settings({})

    @pytest.mark.parametrize("value", ["modal ,qwen", "MODAL", "openai"])
    def test_the_mode_is_one_of_two_words(self, value: str) -> None:
        problem = only_problem({**PRODUCTION, "TTS_PROVIDER_MODE": value})
        assert problem == f"TTS_PROVIDER_MODE cannot be '{value}'. Set it to modal or qwen."

    def test_qwen_needs_a_key(self) -> None:
        problem = only_problem({**PRODUCTION, "DASHSCOPE_API_KEY": ""})
        assert problem.startswith("DASHSCOPE_API_KEY is not set")
        without = load_settings({**PRODUCTION, "DASHSCOPE_API_KEY": "", "TTS_PROVIDER_MODE": "modal"})
        assert without.provider_mode is ProviderMode.MODAL

    @pytest.mark.parametrize("value", ["0", "2001", "-1", "1e3", "2000.0"])
    def test_the_text_cap_can_only_be_lowered(self, value: str) -> None:
        assert "whole number from 1 to 2000" in only_problem({**LOCAL, "QWEN_MAX_TEXT_CHARS": value})

    def test_clients_get_mp3_and_nothing_else(self) -> None:
        assert only_problem({**LOCAL, "QWEN_DEFAULT_RESPONSE_FORMAT": "wav"}).endswith("Set it to mp3.")
        assert load_settings({**LOCAL, "QWEN_UPSTREAM_FORMAT": "pcm"}).upstream_format is UpstreamFormat.PCM
        assert only_problem({**LOCAL, "QWEN_UPSTREAM_FORMAT": "wav"}).endswith("Set it to mp3 or pcm.")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DASHSCOPE_BASE_URL", "https://host/api/v1"),
            ("DASHSCOPE_BASE_URL", "dashscope-intl.aliyuncs.com"),
            ("DASHSCOPE_REALTIME_URL", "wss://host/path?model=x"),
            ("DASHSCOPE_REALTIME_URL", "https://host/path"),
            ("PUBLIC_BASE_URL", "https://host:99999"),
            ("DATABASE_URL", "mysql://host/db"),
            ("CORS_ALLOWED_ORIGIN", "https://a.example/path"),
            ("CORS_ALLOWED_ORIGIN", ","),
            ("UTTER_DRAIN_SECONDS", "inf"),
            ("ENABLE_GENERATE_STREAM", "maybe"),
            ("UTTER_LOG_LEVEL", "loud"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, name: str, value: str) -> None:
        assert only_problem({**LOCAL, name: value}).startswith(f"{name} cannot be ")

    def test_a_secret_is_never_quoted(self) -> None:
        problem = only_problem({**LOCAL, "SUPABASE_JWT_SECRET": "hunter2"})
        assert "hunter2" not in problem
        assert "at least 32 characters" in problem


class TestEnvironments:
    def test_production_refuses_the_toggle_and_staging_allows_it(self) -> None:
        on = {"ENABLE_GENERATE_MODE_TOGGLE": "true"}
        assert "ENABLE_GENERATE_MODE_TOGGLE" in only_problem({**PRODUCTION, **on})
        assert load_settings({**STAGING, **on}).enable_generate_mode_toggle

    @pytest.mark.parametrize("name", ["DASHSCOPE_REALTIME_URL", "MODAL_JOB_SUBMIT"])
    @pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:9", "[::1]:9", "127.9.9.9"])
    def test_production_refuses_an_emulator_and_staging_allows_it(self, name: str, host: str) -> None:
        scheme = "wss" if name == "DASHSCOPE_REALTIME_URL" else "https"
        emulated = {name: f"{scheme}://{host}/path"}
        assert only_problem({**PRODUCTION, **emulated}).startswith(f"{name} points to this machine")
        assert load_settings({**STAGING, **emulated}).env is Environment.STAGING

    def test_an_emulated_base_url_is_one_problem_not_two(self) -> None:
        problem = only_problem({**PRODUCTION, "DASHSCOPE_BASE_URL": "https://localhost"})
        assert problem.startswith("DASHSCOPE_BASE_URL")

    def test_production_sends_no_key_unencrypted(self) -> None:
        problem = only_problem({**PRODUCTION, "DASHSCOPE_BASE_URL": "http://dashscope.example"})
        assert problem.startswith("DASHSCOPE_BASE_URL is not encrypted")

    @pytest.mark.parametrize("environ", [STAGING, PRODUCTION])
    def test_self_minted_tokens_are_local(self, environ: dict[str, str]) -> None:
        assert only_problem({**environ, "UTTER_TOKEN_SECRET": SECRET}).startswith("UTTER_TOKEN_SECRET is set")
        assert only_problem({**environ, "UTTER_DEV_TOKENS": "true"}).startswith("UTTER_DEV_TOKENS is on")
        assert not load_settings(environ).dev_tokens
        assert load_settings(LOCAL).dev_tokens

    @pytest.mark.parametrize("environ", [STAGING, PRODUCTION])
    def test_a_deployment_needs_a_secret_to_sign_urls_with(self, environ: dict[str, str]) -> None:
        assert only_problem({**environ, "UTTER_SIGNING_SECRET": ""}).startswith("UTTER_SIGNING_SECRET is not set")

    @pytest.mark.parametrize("environ", [STAGING, PRODUCTION])
    def test_a_deployment_needs_an_issuer(self, environ: dict[str, str]) -> None:
        said = only_problem({**environ, "SUPABASE_JWT_SECRET": ""})
        assert said.startswith("None of SUPABASE_URL, SUPABASE_JWT_SECRET is set")
        assert not load_settings(environ).supabase_jwks_url
        for name in ("SUPABASE_URL", "SUPABASE_JWKS_URL"):
            by_keys = load_settings({**environ, "SUPABASE_JWT_SECRET": "", name: "https://project.supabase.co"})
            assert by_keys.supabase_jwks_url

    def test_the_issuer_s_keys_are_where_supabase_publishes_them(self) -> None:
        project = {**PRODUCTION, "SUPABASE_URL": "https://project.supabase.co/"}
        keys = "https://project.supabase.co/auth/v1/.well-known/jwks.json"
        assert load_settings(project).supabase_jwks_url == keys
        own = "https://keys.example/set.json"
        assert load_settings({**project, "SUPABASE_JWKS_URL": own}).supabase_jwks_url == own

    @pytest.mark.parametrize("name", ["SUPABASE_URL", "SUPABASE_JWKS_URL"])
    def test_production_takes_no_keys_from_an_open_line(self, name: str) -> None:
        assert "not encrypted" in only_problem({**PRODUCTION, name: "http://project.example"})
        assert load_settings({**STAGING, name: "http://project.example"}).supabase_jwks_url

    def test_local_needs_some_way_in(self) -> None:
        nobody = {**LOCAL, "UTTER_TOKEN_SECRET": ""}
        assert only_problem(nobody).startswith("None of UTTER_TOKEN_SECRET, SUPABASE_URL, SUPABASE_JWT_SECRET is set")
        assert load_settings({**nobody, "SUPABASE_JWT_SECRET": SECRET}).signing_secret

    def test_public_keys_sign_no_urls(self) -> None:
        by_keys = {**LOCAL, "UTTER_TOKEN_SECRET": "", "SUPABASE_URL": "http://127.0.0.1:54321"}
        assert only_problem(by_keys).startswith("UTTER_SIGNING_SECRET is not set")
        assert load_settings({**by_keys, "UTTER_SIGNING_SECRET": SECRET}).signing_secret == SECRET

    def test_an_unreadable_environment_leads_to_no_guesses(self) -> None:
        environ = {"UTTER_ENV": "x", "DATABASE_URL": "postgresql:///u", "ENABLE_GENERATE_MODE_TOGGLE": "true"}
        assert only_problem(environ).startswith("UTTER_ENV")


class TestObjectsUrl:
    S3: ClassVar = {"OBJECTS_URL": "s3://acme-{bucket}?region=eu-central-1&endpoint=https://s3.example"}
    KEY: ClassVar = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush"}

    def test_a_store_that_is_shown_as_it_is_but_for_its_secret(self) -> None:
        settings = load_settings({**PRODUCTION, **self.S3, **self.KEY})
        rows = {row.name: row.value for row in describe(settings)}
        assert rows["OBJECTS_URL"] == self.S3["OBJECTS_URL"]
        assert rows["AWS_SECRET_ACCESS_KEY"] == "********"
        assert "hush" not in repr(settings)

    @pytest.mark.parametrize(
        "value", ["s3://id:hush@bucket", "s3://bucket?secret=hush", "https://id:hush@bucket", "gopher://bucket"]
    )
    def test_a_place_that_is_none_is_refused_without_its_secret(self, value: str) -> None:
        said = only_problem({**PRODUCTION, "OBJECTS_URL": value})
        assert said.startswith("OBJECTS_URL cannot be")
        assert "s3://bucket/folder?region=" in said
        assert "hush" not in said

    @pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    def test_somebody_else_s_s3_needs_a_key(self, missing: str) -> None:
        said = only_problem({**PRODUCTION, **self.S3, **self.KEY, missing: ""})
        assert "https://s3.example" in said
        assert missing in said

    def test_amazon_s_own_machines_have_roles(self) -> None:
        load_settings({**PRODUCTION, "OBJECTS_URL": "s3://acme?region=eu-central-1"})


class TestDescription:
    def test_secrets_are_masked_and_sources_named(self) -> None:
        environ = {
            **PRODUCTION,
            "MODAL_JOB_SUBMIT": "https://id:hush@modal.example?key=hush",
            "UTTER_LOG_LEVEL": "info",
        }
        settings = load_settings(environ)
        rows = {row.name: row for row in describe(settings)}
        assert rows["UTTER_ENV"].value == "production"
        assert rows["UTTER_ENV"].source == "environment"
        assert rows["TTS_PROVIDER_MODE"].source == "derived"
        assert rows["QWEN_MAX_TEXT_CHARS"].source == "default"
        assert rows["DATABASE_URL"].value == "postgresql://utter:********@db.example/utter"
        assert rows["DASHSCOPE_API_KEY"].value == "********"
        assert settings.log_level is LogLevel.INFO
        shown = " ".join(row.value for row in rows.values())
        assert not any(secret in shown for secret in ("hunter2", "sk-real", SECRET, "hush"))

    def test_the_object_itself_shows_no_secret(self) -> None:
        shown = repr(load_settings(PRODUCTION))
        assert not any(secret in shown for secret in ("hunter2", "sk-real", SECRET))

    def test_an_unset_secret_shows_as_empty(self) -> None:
        rows = {row.name: row.value for row in describe(load_settings(LOCAL))}
        assert rows["DASHSCOPE_API_KEY"] == ""
