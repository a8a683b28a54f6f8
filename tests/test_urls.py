"""URLs: what they may be, and that one text means one storage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ama.errors import InvalidInput
from ama.storage.urls import _options_of, open_storage, option_texts, parse_url

VALUES = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        ["", "true", "1", "-1.5", "1e5", "007", "+1", "a&b=c#d%26 e?f", "http://h:1/"]
    )
)


@given(st.dictionaries(st.sampled_from(["anon", "endpoint_url", "client_kwargs.x"]), VALUES))
def test_options_in_a_url_are_what_they_were(options: dict[str, str | int | float | bool]) -> None:
    query = "&".join(option_texts(options))
    again = _options_of(query, "s3://models/ama")
    assert again == options
    assert {k: type(v) for k, v in again.items()} == {k: type(v) for k, v in options.items()}
    assert "&".join(option_texts(again)) == query
    assert query.isascii()
    assert not set(query) & set(" #")


def test_one_storage_has_one_url() -> None:
    options = {"endpoint_url": "http://localhost:9000", "client_kwargs.region_name": "eu"}
    url = "s3://models/ama?client_kwargs.region_name=eu&endpoint_url=http://localhost:9000"
    for one in (
        open_storage("s3://models/ama", options),
        open_storage("s3://models/ama/", {**options, "timeout": 5}),
        open_storage(url),
        open_storage(
            "s3://models/ama?endpoint_url=http%3A//localhost:9000&client_kwargs.region_name=eu"
        ),
    ):
        assert one.url == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://b/x?anon", "isn't options"),
        ("s3://b/x?a=1#b", "isn't options"),
        ("s3://b/x#part", "goes on with a '#'"),
        ("s3://b/x?a=1&a=2", "option a is given twice"),
        ("s3://b/x?a-b=1", "can't be an option's name"),
        ("s3://b/x?a=1&a.b=2", "option a is a value, and a.b needs a table"),
        ("s3://b/x?timeout=5", "option timeout is ama's own, and no part of a URL"),
        ("s3://?anon=true", "names no bucket"),
        ("https://?x=1", "names no host"),
        ("/mnt/\udcff/store", "isn't valid UTF-8"),
    ],
)
def test_a_url_that_cannot_be_one(url: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_url(url)
    assert said in caught.value.message


@pytest.mark.parametrize("url", ["what?is=this", "/mnt/a?b", "file:///mnt/a?b"])
def test_a_path_has_no_options(url: str) -> None:
    assert parse_url(url).options == {}
    assert str(parse_url(url)) == url
    with pytest.raises(InvalidInput, match="a directory has no option anon"):
        parse_url(url, {"anon": True})
