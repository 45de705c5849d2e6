"""Where objects are kept: what `OBJECTS_URL` may say.

    /srv/utter/objects  or  file:///srv/utter/objects         a folder
    s3://acme-utter?region=eu-central-1                       one bucket; `references` and `generations` are folders
    s3://acme-utter/live?endpoint=https://minio.example:9000  the same, below a folder, at another S3 than Amazon's
    s3://{bucket}?region=eu-central-1&endpoint=https://project.supabase.co/storage/v1/s3
                                                              a bucket each, as v1 had them at Supabase

`{bucket}` stands for `references` and `generations`, wherever it is written; a URL without it gets it as last folder.
Credentials are never part of the URL: the store's client reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
AWS_SESSION_TOKEN, or asks the machine it runs on (an IAM role) where Amazon has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

BUCKET = "{bucket}"

EXPECTED = (
    "a directory, or a URL like s3://bucket/folder?region=eu-central-1&endpoint=https://s3.example.com, where folder, "
    "region and endpoint may be missing and {bucket} stands for references and generations; credentials are "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)
"""What `OBJECTS_URL` may be, in words for an operator."""

_OPTIONS = {"endpoint", "region"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_FOLDER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_REGION = re.compile(r"[A-Za-z0-9-]+")


class InvalidLocation(ValueError):
    """This is no place that objects can be kept in. The message names the part that is wrong, and no secret."""


@dataclass(frozen=True, slots=True)
class S3Location:
    """Buckets at an S3 service. `bucket` and `folder` may contain `{bucket}`; one of them does."""

    bucket: str
    folder: str
    endpoint: str | None
    region: str | None


def parse_location(text: str) -> Path | S3Location:
    """What `OBJECTS_URL` names. Raises `InvalidLocation`."""
    url = _split(text)
    match url.scheme:
        case "":
            return Path(text)
        case "file":
            return Path(unquote(url.path))
        case "s3":
            return _s3_location(url)
        case _:
            raise InvalidLocation(f"{url.scheme}:// is no kind of store that is known here")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise InvalidLocation("the URL is malformed") from error


def _s3_location(url: SplitResult) -> S3Location:
    if "@" in url.netloc:
        raise InvalidLocation("a URL of a store holds no credentials")
    options = _options(url.query)
    bucket, folder = url.netloc, url.path.strip("/")
    if BUCKET not in bucket + folder:
        folder = f"{folder}/{BUCKET}".lstrip("/")
    if not _NAME.fullmatch(bucket.replace(BUCKET, "references")):
        raise InvalidLocation("the name of the bucket is missing or malformed")
    if url.fragment or (folder and not _FOLDER.fullmatch(folder.replace(BUCKET, "references"))):
        raise InvalidLocation("the folder is malformed")
    return S3Location(bucket, folder, options.get("endpoint"), options.get("region"))


def _options(query: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise InvalidLocation("the options are malformed") from error
    options = dict(pairs)
    if len(options) != len(pairs) or not options.keys() <= _OPTIONS:
        raise InvalidLocation(f"the options are {' and '.join(sorted(_OPTIONS))}, each at most once")
    if "endpoint" in options:
        _check_endpoint(options["endpoint"])
    if not _REGION.fullmatch(options.get("region", "any")):
        raise InvalidLocation("the region is malformed")
    return options


def _check_endpoint(endpoint: str) -> None:
    url = _split(endpoint)
    try:
        known = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:  # of the port
        known = False
    if not known or url.query or url.fragment or "@" in url.netloc:
        raise InvalidLocation("the endpoint is no plain http or https URL")
