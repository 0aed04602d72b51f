import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from abctl.core.envblock import HEADER, make_block, parse_block, parse_number, save_value
from tests.grubs import ScriptedGrub

NAMES = st.text("abcdefghijklmnopqrstuvwxyz_AB", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=40)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_a_block_gives_back_what_was_put_in(values: dict[str, str]) -> None:
    assert parse_block(make_block(values, 1024)) == values


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(NAMES, VALUES.filter(lambda value: "\n" not in value), max_size=6))
def test_grubs_own_tool_lists_what_was_put_in(tmp_path: Path, values: dict[str, str]) -> None:
    (tmp_path / "grubenv").write_bytes(make_block(values, 1024))
    command = ["grub-editenv", str(tmp_path / "grubenv"), "list"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode("latin-1")
    assert listed == "".join(f"{name}={value}\n" for name, value in values.items())


PIECES = [
    b"a=1\n",
    b"ab=2\n",
    b"b=\\\n3\n",
    b"a=",
    b"a",
    b"=",
    b"\\",
    b"\n",
    b"#",
    b"##\n",
    b"\0",
    b"\xff",
    b"1",
]
ANY_BLOCK = st.tuples(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.integers(0, 9))
STEADY = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@STEADY
@given(case=ANY_BLOCK)
@example(case=(b"a=1\0b=2\n", 4))
@example(case=(b"a=1\0b\0c\n", 4))
@example(case=(b"a=1\nb=2\n", 0))
@example(case=(b"=1\n", 4))
@example(case=(b"a=1\nb=2", 0))
@example(case=(b"a=1\n=", 0))
@example(case=(b"a=1\nb=\\", 0))
def test_whatever_stands_in_a_block_it_is_read_as_grub_reads_it(
    tmp_path: Path, case: tuple[bytes, int]
) -> None:
    """Of lines with the same name the tool lists each, and ``load_env`` keeps the last."""
    block = HEADER + (case[0] + b"#" * case[1] or b"#")
    (tmp_path / "grubenv").write_bytes(block)
    command = ["grub-editenv", str(tmp_path / "grubenv"), "list"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode("latin-1")
    values = parse_block(block)
    assert values is not None
    assert all(f"{name}={value}\n" in listed for name, value in values.items())
    assert sum(map(len, (f"{name}={value}\n" for name, value in values.items()))) <= len(listed)
    assert bool(values) == bool(listed)


@STEADY
@given(
    case=ANY_BLOCK, name=st.sampled_from(["a", "ab", "b", "new"]), value=st.sampled_from(["", "7", "long\\x"])
)
@example(case=(b"a=1\n", 9), name="new", value="7")
@example(case=(b"a=1\n", 6), name="new", value="7")
@example(case=(b"a=1\n", 5), name="new", value="7")
@example(case=(b"a=1\nb=2\n", 0), name="b", value="7")
@example(case=(b"a=1", 0), name="a", value="7")
@example(case=(b"a=\n", 3), name="a", value="7")
@example(case=(b"a=1\\\n", 3), name="a", value="7")
def test_whatever_stands_in_a_block_it_is_saved_as_grub_saves_it(
    tmp_path: Path, case: tuple[bytes, int], name: str, value: str
) -> None:
    block = HEADER + (case[0] + b"#" * case[1] or b"#")
    path = tmp_path / "grubenv"
    path.write_bytes(block)
    done = subprocess.run(
        ["grub-editenv", str(path), "set", f"{name}={value}"], capture_output=True, check=False
    )
    assert save_value(block, name, value) == (path.read_bytes() if done.returncode == 0 else None)


def test_a_block_is_filled_with_hash_signs_to_its_size() -> None:
    block = make_block({"a": "1"}, 512)
    assert block == HEADER + b"a=1\n" + b"#" * (512 - len(HEADER) - 4)


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 526 of 512 bytes"):
        make_block({"a": "x" * 498}, 512)


@pytest.mark.parametrize(
    "block",
    [None, b"", HEADER, HEADER[:-1] + b"#" * 500, b"\0" * 512, b"x" + make_block({"a": "1"}, 511)],
    ids=["missing", "empty", "header only", "no newline", "zeros", "shifted"],
)
def test_what_has_no_header_is_no_block(block: bytes | None) -> None:
    assert parse_block(block) is None
    assert save_value(block, "a", "2") is None


def test_the_last_line_of_a_name_is_read_and_the_first_is_written() -> None:
    block = HEADER + b"a=1\na=2\n" + b"#" * 50
    assert parse_block(block) == {"a": "2"}
    assert parse_block(save_value(block, "a", "3")) == {"a": "2"}


def test_a_block_that_was_cut_in_a_line_cannot_be_saved() -> None:
    cut = make_block({"a": "1", "b": "2"}, 512)[: len(HEADER) + 5].ljust(512, b"\0")
    assert save_value(cut, "a", "2") is None


def test_saving_keeps_the_size_and_the_other_values() -> None:
    block = make_block({"a": "1", "b": "two"}, 512)
    saved = save_value(block, "a", "longer")
    assert saved is not None
    assert len(saved) == len(block)
    assert parse_block(saved) == {"a": "longer", "b": "two"}


def test_a_full_block_takes_no_longer_value() -> None:
    full = make_block({"a": "1"}, len(HEADER) + 4)
    assert save_value(full, "a", "2") == make_block({"a": "2"}, len(HEADER) + 4)
    assert save_value(full, "a", "22") is None
    assert save_value(full, "b", "1") is None


NUMBERS = ["", "0", "7", "07", "010", "08", "0x1f", "0X1f", "0x", " 12", "-3", "--3", "- 3", "12x", "x12"]
NUMBERS += ["18446744073709551615", "18446744073709551621", "-2147483648", "-2147483649"]
NUMBERS += ["2147483647", "2147483648", "4294967295", "4294967297", "99999999999999999999", "\t5", "1 2"]


def test_a_number_is_an_int_of_c_whatever_was_written() -> None:
    assert all(-(2**31) <= parse_number(text) < 2**31 for text in NUMBERS)
    assert parse_number("2147483648") == -(2**31)
    assert parse_number("4294967297") == 1


def test_numbers_are_what_grub_takes_them_for() -> None:
    """GRUB itself compares each text with the number that abctl takes it for."""
    script = "".join(
        f'if [ "{text}" -eq {parse_number(text)} ]; then set log="$log="; else set log="$log!"; fi\n'
        for text in NUMBERS
    )
    with ScriptedGrub() as grub:
        assert grub.say(script) == "=" * len(NUMBERS)
