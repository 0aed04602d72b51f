"""Which of two versions is newer, and that there is one order for all of them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.core.units import Version, parse_version
from abctl.core.version_order import is_newer, order_of

VERSIONS = st.one_of(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,15}", fullmatch=True),
    st.from_regex(r"[0-3](\.[0-3]){0,3}([-+~._](rc|a|beta|[0-3])){0,3}", fullmatch=True),
).map(parse_version)

RISING = [
    ["1.9", "1.10", "2", "2.0.1", "2.1", "10.0"],
    [
        "2.0.0-alpha",
        "2.0.0-alpha.1",
        "2.0.0-alpha.beta",
        "2.0.0-beta",
        "2.0.0-rc1",
        "2.0.0-rc2",
        "2.0.0-rc10",
    ],
    ["2.0.0~beta", "2.0.0-rc1", "2.0.0", "2.0.0+1", "2.0.0+2", "2.0.0+10", "2.0.0a", "2.0.1~1"],
    ["1.0-rc-1", "1.0-rc", "1.0"],
    ["1.0-.1", "1.0", "1.0.-1"],
    ["20240131", "20240201", "20240201.1"],
    ["2024-01", "2024-02", "2024"],
    ["bookworm", "bookworm1", "bookworm2", "trixie", "1"],
]


@pytest.mark.parametrize("versions", RISING, ids=lambda versions: versions[0])
def test_each_version_is_newer_than_the_one_before(versions: list[str]) -> None:
    for old, new in pairwise(map(Version, versions)):
        assert is_newer(new, old)
        assert not is_newer(old, new)


@pytest.mark.parametrize(
    ("one", "other"),
    [("2", "2.0"), ("2.0", "2.0.0"), ("1.01", "1.1"), ("2.0-rc1", "2.0.0-rc1"), ("1.0", "1.0-")],
)
def test_some_versions_rank_alike(one: str, other: str) -> None:
    assert order_of(Version(one)) == order_of(Version(other))
    assert not is_newer(Version(one), Version(other))
    assert not is_newer(Version(other), Version(one))


@given(VERSIONS)
def test_no_version_is_newer_than_itself(version: Version) -> None:
    assert not is_newer(version, version)


@given(VERSIONS, VERSIONS)
def test_of_two_versions_one_is_newer_or_they_rank_alike(one: Version, other: Version) -> None:
    verdicts = (is_newer(one, other), is_newer(other, one), order_of(one) == order_of(other))
    assert sorted(verdicts) == [False, False, True]


@given(st.lists(VERSIONS, min_size=3, max_size=3))
def test_the_order_does_not_run_in_circles(versions: list[Version]) -> None:
    first, second, third = versions
    if not is_newer(first, second) and not is_newer(second, third):
        assert not is_newer(first, third)


@given(VERSIONS, st.sampled_from(["-rc1", "~1", "-a"]), st.sampled_from(["+1", "a", ".1", "_x"]))
def test_a_release_comes_after_what_leads_to_it_and_before_what_amends_it(
    version: Version, before: str, after: str
) -> None:
    if version[-1].isdigit():
        assert is_newer(version, Version(version + before))
        assert is_newer(Version(version + after), version)
