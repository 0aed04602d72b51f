"""The repository in config.toml: where signed releases may come from."""

import json

import pytest

from abctl.core.config import parse_config
from abctl.errors import BadConfig


def config_of(*mirrors: str) -> str:
    return f"[repository]\nmirrors = [{', '.join(map(json.dumps, mirrors))}]\n"


@pytest.mark.parametrize(
    "mirrors",
    [
        (),
        ("http://a.example/abctl/",),
        ("https://a.example:8443/abctl", "http://[2001:db8::1]/x"),
        ("file:///srv/repo", "file:///mnt/repo"),
    ],
)
def test_mirrors_are_servers_or_files(mirrors: tuple[str, ...]) -> None:
    assert parse_config(config_of(*mirrors), "config.toml").repository.mirrors == mirrors


@pytest.mark.parametrize(
    ("mirrors", "said"),
    [
        (("ftp://a.example/",), "is not a http, https or file URL"),
        (("a.example",), "is not a http, https or file URL"),
        (("http:///abctl",), "is not a http, https or file URL"),
        (("http://a.example:port/",), "is not a http, https or file URL"),
        (("http://a.example:0/",), "is not a http, https or file URL"),
        (("http://[2001:db8::1/",), "is not a http, https or file URL"),
        (("http://a.example/\u202e",), "is not a http, https or file URL"),
        (("http://a.example/?key=1",), "has a query"),
        (("http://a.example/#top",), "has a query"),
        (("http://a.example/", "file:///srv/repo"), "either all files or all servers"),
    ],
)
def test_a_mirror_that_cannot_be_one_is_told(mirrors: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadConfig, match=r"config\.toml") as caught:
        parse_config(config_of(*mirrors), "config.toml")
    assert said in str(caught.value)
