"""What `OBJECTS_URL` may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.object_location import InvalidLocation, S3Location, parse_location
from storage.object_places import open_places
from storage.objects import BUCKETS, ObjectStore, ObjectStoreUnavailable


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("/srv/objects", "/srv/objects"),
        ("objects", "objects"),
        ("file:///srv/my%20objects", "/srv/my objects"),
        ("/srv/{bucket}", "/srv/{bucket}"),
    ],
)
def test_a_folder(text: str, folder: str) -> None:
    assert parse_location(text) == Path(folder)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("s3://acme", S3Location("acme", "{bucket}", None, None)),
        ("s3://acme/", S3Location("acme", "{bucket}", None, None)),
        ("s3://acme/live/eu?region=eu-west-1", S3Location("acme", "live/eu/{bucket}", None, "eu-west-1")),
        ("s3://acme/{bucket}/live", S3Location("acme", "{bucket}/live", None, None)),
        ("s3://acme-{bucket}", S3Location("acme-{bucket}", "", None, None)),
        (
            "s3://{bucket}?region=eu-central-1&endpoint=https://project.supabase.co/storage/v1/s3",
            S3Location("{bucket}", "", "https://project.supabase.co/storage/v1/s3", "eu-central-1"),
        ),
        ("s3://{bucket}/v2?endpoint=http://minio:9000", S3Location("{bucket}", "v2", "http://minio:9000", None)),
        ("s3://acme?endpoint=https%3A%2F%2Fs3.example", S3Location("acme", "{bucket}", "https://s3.example", None)),
    ],
)
def test_buckets_at_s3(text: str, location: S3Location) -> None:
    assert parse_location(text) == location


@pytest.mark.parametrize(
    ("location", "paths"),
    [
        ("s3://acme", {"s3://acme/references/k", "s3://acme/generations/k"}),
        ("s3://acme/live", {"s3://acme/live/references/k", "s3://acme/live/generations/k"}),
        ("s3://acme-{bucket}", {"s3://acme-references/k", "s3://acme-generations/k"}),
        ("s3://{bucket}/live", {"s3://references/live/k", "s3://generations/live/k"}),
    ],
)
def test_where_an_object_lies(location: str, paths: set[str]) -> None:
    places = open_places(parse_location(location), BUCKETS)
    assert {f"{place.name}/{place.path('k')}" for place in places.values()} == paths


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gopher://bucket", "gopher"),
        ("https://bucket.s3.amazonaws.com", "https"),
        ("s3://", "bucket"),
        ("s3:///folder", "bucket"),
        ("s3:bucket", "bucket"),
        ("s3://a", "bucket"),
        ("s3://bu cket", "bucket"),
        ("s3://{folder}", "bucket"),
        ("s3://bucket:9000", "bucket"),
        ("s3://bucket/../other", "folder"),
        ("s3://bucket/a//b", "folder"),
        ("s3://bucket/a%2fb", "folder"),
        ("s3://bucket/{other}", "folder"),
        ("s3://id:hunter2@bucket", "credentials"),
        ("s3://bucket?key=hunter2", "endpoint and region"),
        ("s3://bucket?region=eu&region=us", "at most once"),
        ("s3://bucket?region=", "region"),
        ("s3://bucket?region", "malformed"),
        ("s3://bucket?region=eu west", "region"),
        ("s3://bucket?endpoint=s3.example", "endpoint"),
        ("s3://bucket?endpoint=ftp://s3.example", "endpoint"),
        ("s3://bucket?endpoint=https://id:hunter2@s3.example", "endpoint"),
        ("s3://bucket?endpoint=https://s3.example:no", "endpoint"),
        ("s3://bucket?endpoint=https://", "endpoint"),
        ("s3://bucket?endpoint=", "endpoint"),
        ("s3://bucket?endpoint=http://[", "malformed"),
        ("s3://[", "malformed"),
        ("s3://bucket#folder", "folder"),
    ],
)
def test_what_is_no_place_is_told_without_secrets(text: str, said: str) -> None:
    with pytest.raises(InvalidLocation, match=said) as problem:
        parse_location(text)
    assert "hunter2" not in str(problem.value)
    with pytest.raises(ObjectStoreUnavailable, match=said):
        ObjectStore.open(text)


@given(st.text(max_size=40))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    try:
        location = parse_location(f"s3://{text}")
    except InvalidLocation:
        return
    assert isinstance(location, S3Location)
    for bucket in BUCKETS:
        assert bucket in (location.bucket + location.folder).replace("{bucket}", bucket)
        assert ".." not in location.folder.split("/")
