"""The fields of `Settings`: one for each variable, with its kind, its default and its reason."""

# ruff: noqa: RUF009 - variable() is dataclasses.field() with a declaration in its metadata

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.audio_memory import BUDGET_BYTES
from gateway.net import Bind, Network
from gateway.settings.kinds import (
    BIND,
    CORS_ORIGINS,
    NAMES,
    NETWORKS,
    OBJECTS_URL,
    PATH,
    SWITCH,
    dollars,
    endpoint,
    integer,
    one_of,
    origin,
    postgres_url,
    seconds,
    secret_text,
    text,
    url,
    variable,
)
from gateway.settings.names import (
    FIRST_VC_MODEL,
    FIRST_VD_MODEL,
    TEXT_CAP_CHARS,
    Environment,
    LogLevel,
    ProviderMode,
    ResponseFormat,
    UpstreamFormat,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One field, one variable. Durations are in seconds, sizes in bytes, URLs have no trailing slash."""

    env: Environment = variable(
        "UTTER_ENV", one_of(Environment), Environment.LOCAL, "Where this process runs.", required=True
    )
    provider_mode: ProviderMode = variable(
        "TTS_PROVIDER_MODE",
        one_of(ProviderMode),
        None,
        "The provider of all new work. Unset: modal in local, qwen elsewhere.",
    )

    dashscope_api_key: str = variable(
        "DASHSCOPE_API_KEY", text("the key of the account"), "", "Vendor key. Needed in qwen mode.", secret=True
    )
    dashscope_base_url: str = variable(
        "DASHSCOPE_BASE_URL",
        origin("https", "http"),
        "https://dashscope-intl.aliyuncs.com",
        "Vendor REST host. Key, voices and quota belong to one region.",
    )
    dashscope_realtime_url: str = variable(
        "DASHSCOPE_REALTIME_URL",
        endpoint("wss", "ws"),
        None,
        "Vendor WebSocket endpoint. Unset: derived from DASHSCOPE_BASE_URL.",
    )
    dashscope_region: str = variable(
        "DASHSCOPE_REGION", text("a region name"), "intl", "Written on every voice; a voice works in its region only."
    )
    dashscope_workspace: str = variable(
        "DASHSCOPE_WORKSPACE", text("a workspace id"), "", "Sent as X-DashScope-WorkSpace when set."
    )
    vc_target_model: str = variable(
        "QWEN_VC_TARGET_MODEL", text("a model name"), FIRST_VC_MODEL, "Model that new clones are made for."
    )
    vd_target_model: str = variable(
        "QWEN_VD_TARGET_MODEL", text("a model name"), FIRST_VD_MODEL, "Model that new designs are made for."
    )
    accepted_vc_models: tuple[str, ...] = variable(
        "QWEN_ACCEPTED_VC_MODELS",
        NAMES,
        None,
        "Models whose cloned voices may still be used. The one for new clones is always among them.",
    )
    accepted_vd_models: tuple[str, ...] = variable(
        "QWEN_ACCEPTED_VD_MODELS",
        NAMES,
        None,
        "Models whose designed voices may still be used. The one for new designs is always among them.",
    )
    enrollment_model: str = variable(
        "QWEN_ENROLLMENT_MODEL", text("a model name"), "qwen-voice-enrollment", "Customization model that clones."
    )
    design_model: str = variable(
        "QWEN_DESIGN_MODEL", text("a model name"), "qwen-voice-design", "Customization model that designs."
    )
    clone_price_usd: float = variable(
        "QWEN_CLONE_PRICE_USD", dollars(1000), 0.01, "What the vendor bills for a cloned voice; people are told first."
    )
    design_price_usd: float = variable(
        "QWEN_DESIGN_PRICE_USD", dollars(1000), 0.2, "What the vendor bills for each try at a designed voice."
    )
    response_format: ResponseFormat = variable(
        "QWEN_DEFAULT_RESPONSE_FORMAT", one_of(ResponseFormat), ResponseFormat.MP3, "What clients are sent."
    )
    upstream_format: UpstreamFormat = variable(
        "QWEN_UPSTREAM_FORMAT", one_of(UpstreamFormat), UpstreamFormat.MP3, "pcm: ask for PCM and encode MP3 here."
    )
    max_text_chars: int = variable(
        "QWEN_MAX_TEXT_CHARS",
        integer(1, TEXT_CAP_CHARS),
        TEXT_CAP_CHARS,
        "Longest text in UTF-16 units after trimming. It can only be lowered.",
    )
    starts_per_second: int = variable(
        "QWEN_STARTS_PER_SECOND", integer(1, 10_000), 3, "Session starts a second that the account allows."
    )
    starts_per_minute: int = variable(
        "QWEN_STARTS_PER_MINUTE", integer(1, 600_000), 180, "Session starts a minute that the account allows."
    )

    warm_connections: int = variable(
        "QWEN_WARM_CONNECTIONS",
        integer(0, 1000),
        8,
        "Connections to the provider opened in advance, at most, for each model; 0 for none. As many as were needed "
        "lately are kept.",
    )
    warm_idle_seconds: float = variable(
        "QWEN_WARM_IDLE_SECONDS",
        seconds(0.1, 300),
        15.0,
        "An unused connection is given up at this age. The vendor's own limit is not published, but is longer.",
    )

    modal_job_submit: str = variable("MODAL_JOB_SUBMIT", url("https", "http"), "", "Modal: start a job.")
    modal_job_status: str = variable("MODAL_JOB_STATUS", url("https", "http"), "", "Modal: ask for its state.")
    modal_job_result: str = variable("MODAL_JOB_RESULT", url("https", "http"), "", "Modal: fetch its audio.")
    modal_job_cancel: str = variable("MODAL_JOB_CANCEL", url("https", "http"), "", "Modal: cancel it.")
    modal_endpoint_voice_design: str = variable(
        "MODAL_ENDPOINT_VOICE_DESIGN", url("https", "http"), "", "Modal: design a voice."
    )
    modal_submit_seconds: float = variable(
        "UTTER_MODAL_SUBMIT_SECONDS", seconds(0.1, 600), 60.0, "Starting a job: up to 14 MB, and a container may start."
    )
    modal_status_seconds: float = variable(
        "UTTER_MODAL_STATUS_SECONDS", seconds(0.1, 120), 10.0, "Asking for a job's state, while its user waits."
    )
    modal_result_seconds: float = variable(
        "UTTER_MODAL_RESULT_SECONDS", seconds(0.1, 600), 60.0, "Fetching a job's audio, up to 50 MB, and storing it."
    )
    modal_cancel_seconds: float = variable(
        "UTTER_MODAL_CANCEL_SECONDS", seconds(0.1, 120), 5.0, "Cancelling a job; what takes longer is given up."
    )
    modal_design_seconds: float = variable(
        "UTTER_MODAL_DESIGN_SECONDS", seconds(0.1, 1800), 180.0, "Designing a voice, all polls included."
    )
    modal_job_seconds: float = variable(
        "UTTER_MODAL_JOB_SECONDS",
        seconds(1, 604_800),
        7200.0,
        "Age at which a job without a result fails. Modal ends one after 1800 s of work, and it may queue.",
    )
    sweep_seconds: float = variable(
        "UTTER_SWEEP_SECONDS", seconds(0.1, 3600), 15.0, "Between two looks for work that nobody polls."
    )

    database_url: str = variable(
        "DATABASE_URL", postgres_url(), "", "The gateway's own PostgreSQL login.", secret=True, required=True
    )
    database_listen_url: str = variable(
        "DATABASE_LISTEN_URL",
        postgres_url(),
        None,
        "A direct connection for LISTEN where DATABASE_URL is a transaction pooler. Unset: DATABASE_URL.",
        secret=True,
    )
    database_max_connections: int = variable(
        "DATABASE_MAX_CONNECTIONS", integer(1, 500), 10, "Largest pool of this process."
    )
    objects_url: str = variable(
        "OBJECTS_URL", OBJECTS_URL, None, "Where audio is kept. Unset: 'objects' in the data directory."
    )
    aws_access_key_id: str = variable(
        "AWS_ACCESS_KEY_ID", text("a key's id"), "", "Of an s3:// OBJECTS_URL. Unset on AWS: the machine's role."
    )
    aws_secret_access_key: str = variable(
        "AWS_SECRET_ACCESS_KEY", text("the secret of AWS_ACCESS_KEY_ID"), "", "The secret of that key.", secret=True
    )
    data_dir: Path = variable("UTTER_DATA_DIR", PATH, Path(".utter"), "What this machine keeps between starts.")
    spool_dir: Path = variable(
        "UTTER_SPOOL_DIR",
        PATH,
        None,
        "A disk of this machine, for audio that waits to be stored, or goes beyond the memory it may take. It must "
        "outlive the process. Unset: 'spool' in the data directory.",
    )

    supabase_url: str = variable("SUPABASE_URL", origin("https", "http"), "", "The Supabase project.")
    supabase_anon_key: str = variable("SUPABASE_ANON_KEY", text("the anon key"), "", "Public key, for the page.")
    supabase_jwt_secret: str = variable(
        "SUPABASE_JWT_SECRET",
        secret_text("the project's HS256 secret"),
        "",
        "Verifies Supabase access tokens.",
        secret=True,
    )
    supabase_jwks_url: str = variable(
        "SUPABASE_JWKS_URL",
        url("https", "http"),
        None,
        "Where the project publishes its sign-in keys (ES256, RS256). Unset: derived from SUPABASE_URL.",
    )
    token_secret: str = variable(
        "UTTER_TOKEN_SECRET",
        secret_text("a random text"),
        "",
        "Local only: signs and verifies the tokens that this machine mints itself.",
        secret=True,
    )
    signing_secret: str = variable(
        "UTTER_SIGNING_SECRET",
        secret_text("a random text shared by all instances"),
        None,
        "Signs expiring URLs. In local it is derived from the token secret when unset.",
        secret=True,
    )
    dev_tokens: bool = variable(
        "UTTER_DEV_TOKENS",
        SWITCH,
        None,
        "Local only: the page may sign itself in. Unset: on where there is a UTTER_TOKEN_SECRET.",
    )

    cors_allowed_origin: tuple[str, ...] = variable(
        "CORS_ALLOWED_ORIGIN", CORS_ORIGINS, ("*",), "Origins whose pages may read our answers."
    )
    enable_generate_stream: bool = variable(
        "ENABLE_GENERATE_STREAM", SWITCH, True, "false answers 409 on generate/stream and changes nothing else."
    )
    enable_generate_mode_toggle: bool = variable(
        "ENABLE_GENERATE_MODE_TOGGLE", SWITCH, False, "Lets the page choose the task flow. Refused in production."
    )
    public_base_url: str = variable(
        "PUBLIC_BASE_URL", origin("https", "http"), "", "What clients call us. Unset: taken from each request."
    )
    trusted_proxies: tuple[Network, ...] = variable(
        "UTTER_TRUSTED_PROXIES", NETWORKS, (), "Peers whose X-Forwarded-* and X-Request-Id are believed."
    )
    bind_host: str = variable("UTTER_BIND_HOST", text("an address"), "127.0.0.1", "Address to listen on.")
    bind_port: int = variable("UTTER_BIND_PORT", integer(0, 65535), 8080, "Port to listen on; 0 takes a free one.")
    internal_host: str = variable(
        "UTTER_INTERNAL_HOST",
        text("an address"),
        "127.0.0.1",
        "Address at which other instances reach this one, to pass listeners on. On several machines: one of its own.",
    )
    internal_port: int = variable(
        "UTTER_INTERNAL_PORT", integer(0, 65535), 0, "Port for that; 0 takes a free one, as several workers need."
    )
    metrics_bind: Bind | None = variable(
        "UTTER_METRICS_BIND", BIND, None, "Where Prometheus finds /metrics. Unset: nowhere. Not for the internet."
    )
    workers: int = variable(
        "UTTER_WORKERS",
        integer(1, 64),
        1,
        "Processes of `utter serve`. Limits and pools here are those of each: four open four times the connections.",
    )
    max_connections: int = variable(
        "UTTER_MAX_CONNECTIONS",
        integer(1, 1_000_000),
        10_000,
        "Open connections of a process. Over it, idle ones are closed, then new ones are answered 503.",
    )
    max_body_bytes: int = variable(
        "UTTER_MAX_BODY_BYTES",
        integer(16_384, 16_777_216),
        1_048_576,
        "Largest JSON body. Far above any legal text, so that a long one is told the real cap.",
    )
    body_seconds: float = variable(
        "UTTER_BODY_SECONDS", seconds(0.1, 600), 30.0, "Time a client has to send a JSON body."
    )
    upload_seconds: float = variable(
        "UTTER_UPLOAD_SECONDS",
        seconds(0.1, 3600),
        300.0,
        "Time a client has to send a recording: 10 MiB at 280 kbit/s.",
    )
    max_concurrent_generations: int = variable(
        "UTTER_MAX_CONCURRENT_GENERATIONS",
        integer(1, 10_000),
        64,
        "Provider sessions at once. Each has up to 15 MB of audio until its last listener leaves.",
    )
    audio_memory_bytes: int = variable(
        "UTTER_AUDIO_MEMORY_BYTES",
        integer(0, 68_719_476_736),
        BUDGET_BYTES,
        "Memory for the audio of running generations, all together; what goes beyond it lies in UTTER_SPOOL_DIR.",
    )
    max_waiting_tasks: int = variable(
        "UTTER_MAX_WAITING_TASKS",
        integer(0, 100_000),
        500,
        "Tasks in line for one of these places; the next is told to come back. A place is free after half a minute.",
    )
    lease_seconds: float = variable(
        "UTTER_LEASE_SECONDS",
        seconds(0.3, 300),
        10.0,
        "How long a process may be silent before others take over what it works on.",
    )
    task_attempts: int = variable(
        "UTTER_TASK_ATTEMPTS",
        integer(1, 10),
        3,
        "How often a task is begun, by one process after another, before it fails. Each may be billed.",
    )
    log_level: LogLevel = variable(
        "UTTER_LOG_LEVEL", one_of(LogLevel), LogLevel.DEBUG, "debug has the start of every step, info only its end."
    )
    vitals_seconds: float = variable(
        "UTTER_VITALS_SECONDS",
        seconds(0.1, 3600),
        60.0,
        "Between two lines that say how much a process holds (process.vitals).",
    )
    drain_seconds: float = variable(
        "UTTER_DRAIN_SECONDS", seconds(0, 3600), 30.0, "Time for running work to finish after the first SIGTERM."
    )
    first_audio_seconds: float = variable(
        "UTTER_FIRST_AUDIO_SECONDS", seconds(0.1, 600), 30.0, "Request to first audio byte, retries included."
    )
    task_queue_seconds: float = variable(
        "UTTER_TASK_QUEUE_SECONDS", seconds(0.1, 7200), 600.0, "How long a task may wait for its turn."
    )
    connect_seconds: float = variable("UTTER_CONNECT_SECONDS", seconds(0.1, 60), 5.0, "Opening the provider's socket.")
    delta_gap_seconds: float = variable(
        "UTTER_DELTA_GAP_SECONDS", seconds(0.1, 600), 20.0, "Longest silence between two pieces of audio."
    )
    session_seconds: float = variable(
        "UTTER_SESSION_SECONDS",
        seconds(1, 7200),
        1200.0,
        "A whole provider session: 2000 Japanese characters are 14 minutes of speech.",
    )
    ping_interval_seconds: float = variable(
        "UTTER_PING_INTERVAL_SECONDS", seconds(0.05, 300), 5.0, "Pings on the provider's socket."
    )
    ping_timeout_seconds: float = variable(
        "UTTER_PING_TIMEOUT_SECONDS", seconds(0.05, 300), 10.0, "An unanswered ping this old is a dead socket."
    )
    circuit_failures: int = variable(
        "UTTER_CIRCUIT_FAILURES",
        integer(1, 10_000),
        5,
        "Failures of the provider in a row after which new work is refused for a pause.",
    )
    circuit_pause_seconds: float = variable(
        "UTTER_CIRCUIT_PAUSE_SECONDS",
        seconds(0.1, 60),
        5.0,
        "The first such pause; it doubles while the provider stays away, up to a minute.",
    )
    write_stall_seconds: float = variable(
        "UTTER_WRITE_STALL_SECONDS", seconds(0.1, 3600), 30.0, "A reader that takes nothing for so long is dropped."
    )
    token_write_stall_seconds: float = variable(
        "UTTER_TOKEN_WRITE_STALL_SECONDS",
        seconds(0.1, 7200),
        600.0,
        "The same for signed stream URLs: a paused player is such a reader.",
    )
    signed_url_seconds: float = variable(
        "UTTER_SIGNED_URL_SECONDS", seconds(1, 86_400), 3600.0, "How long a signed URL works."
    )

    sources: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    """Where each variable's value came from: `environment`, `default` or `derived`."""
