"""Small values: sizes, digests, and what is said of them."""

import pytest

from abctl.core.units import GIB, KIB, MIB, Digest, format_size, parse_digest, parse_size, parse_version


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (KIB - 1, "1023 B"),
        (KIB, "1 KiB"),
        (KIB + 512, "1.5 KiB"),
        (MIB - 1, "1024.0 KiB"),
        (MIB, "1 MiB"),
        (10 * GIB, "10 GiB"),
        (1024 * GIB, "1 TiB"),
        (1024 * 1024 * GIB, "1024 TiB"),
        (3 * 1024 * 1024 * 1024 * GIB // 2, "1572864 TiB"),
    ],
)
def test_a_size_is_said_in_the_largest_unit_of_which_it_has_one(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("110G", 110 * GIB),
        ("110 GiB", 110 * GIB),
        (" 1gib ", GIB),
        ("2t", 2048 * GIB),
        ("20 GB", 20 * 1000**3),
        ("512MiB", 512 * MIB),
        ("7K", 7 * KIB),
        ("7", 7),
        ("7B", 7),
        ("7 b", 7),
    ],
)
def test_a_size_may_be_given_in_either_kind_of_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "1.5G", "-1G", "1 PiB", "1GiBs", "many"])
def test_what_is_no_size_is_told_by_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="not a size such as 110G, 512MiB or 20GB"):
        parse_size(text)


def test_a_digest_may_be_pasted_in_any_case_and_with_a_line_end() -> None:
    assert parse_digest(" " + "AB" * 32 + "\n") == Digest("ab" * 32)
    for text in ("ab" * 31, "ab" * 33, "xy" * 32, ""):
        with pytest.raises(ValueError, match="not a SHA-256"):
            parse_digest(text)


@pytest.mark.parametrize(
    "text", ["", ".1", "1 0", "1/0", "v" * 65, "1\n", "\N{LATIN SMALL LETTER E WITH ACUTE}1"]
)
def test_a_version_is_a_word_that_grub_and_a_path_can_take(text: str) -> None:
    with pytest.raises(ValueError, match="not a version"):
        parse_version(text)
    assert parse_version("2.0.0-rc.1+build_7~x") == "2.0.0-rc.1+build_7~x"
    assert parse_version("v" * 64) == "v" * 64
