"""A file in two halves: a half is believed only as it was sealed."""

import pytest

from abctl.core.halves import Content, Halves, Harm, find_harm

FORM = Halves("abctl-test 1", 128)
BODY = b'{"serial": 7}'
FULL = b"x" * (128 - len(b"abctl-test 1 \n\n") - 64)


@pytest.mark.parametrize("body", [BODY, FULL, b"", b"\n", b" a \n b \n"])
def test_what_was_sealed_comes_out_again(body: bytes) -> None:
    half = FORM.seal(body)
    assert half is not None
    assert len(half) == 128
    assert FORM.unseal(half) == body


def test_what_is_too_long_by_one_byte_is_not_sealed() -> None:
    assert FORM.seal(FULL) is not None
    assert FORM.seal(FULL + b"x") is None


def test_a_half_of_which_one_byte_is_another_is_not_believed() -> None:
    half = FORM.seal(BODY)
    assert half is not None
    for at in range(len(half.rstrip(b" \n"))):
        changed = half[:at] + bytes([half[at] ^ 1]) + half[at + 1 :]
        assert FORM.unseal(changed) is None
    other = Halves("abctl-other 1", 128).seal(BODY)
    assert FORM.unseal(other or b"") is None
    assert FORM.unseal(b" " * 128) is None
    assert FORM.unseal(b"") is None


def test_the_file_has_room_for_both_and_begins_with_the_first() -> None:
    half = FORM.seal(BODY)
    assert half is not None
    assert FORM.blank(half) == half + b" " * 128
    assert FORM.blank() == b" " * FORM.file_size == b" " * 256
    assert FORM.split(half + b"x" * 128 + b"more") == (half, b"x" * 128)
    assert [FORM.place_for(serial) for serial in (0, 1, 2, 7)] == [0, 128, 0, 128]


def sealed(body: bytes) -> bytes:
    half = FORM.seal(body)
    assert half is not None
    return half


GOOD, ZEROS, TORN, EMPTY = sealed(BODY), bytes(128), b"torn".ljust(128), b" " * 128
BLANK = FORM.blank(sealed(b"first"))


@pytest.mark.parametrize(
    ("first", "second", "unsealed", "is_lost"),
    [
        (GOOD, GOOD, (), False),
        (GOOD, EMPTY, (128,), False),
        (ZEROS, GOOD, (0,), False),
        (TORN, ZEROS, (0, 128), True),
        (EMPTY, EMPTY, (0, 128), False),
        (ZEROS, EMPTY, (0, 128), True),
    ],
)
def test_halves_that_hold_nothing_whole_are_found(
    first: bytes, second: bytes, unsealed: tuple[int, ...], is_lost: bool
) -> None:
    assert FORM.find_unsealed(first + second) == unsealed
    assert FORM.is_lost(first + second) is is_lost


@pytest.mark.parametrize(
    ("content", "harm", "wanted", "written"),
    [
        (Content(GOOD + EMPTY), None, b"", ()),
        (Content(GOOD + TORN), None, b"", ()),
        (Content(EMPTY + EMPTY), None, b"", ()),
        (Content(is_there=False), Harm.MISSING, BLANK, (0,)),
        (Content(problem="no rights"), Harm.CLOSED, BLANK, (0,)),
        (Content(TORN + TORN), Harm.DAMAGED, BLANK, (0,)),
        (Content(ZEROS + ZEROS, "EIO"), Harm.UNREADABLE, BLANK, (0,)),
        (Content(ZEROS + EMPTY, "EIO"), Harm.UNREADABLE, BLANK, (0,)),
        (Content(GOOD + ZEROS, "EIO"), Harm.HALF, GOOD + EMPTY, (128,)),
        (Content(ZEROS + GOOD, "EIO"), Harm.HALF, sealed(b"first") + GOOD, (0,)),
        (Content(GOOD + b"x"), Harm.SHORT, GOOD + EMPTY, (128,)),
        (Content(b"x"), Harm.SHORT, BLANK, (0,)),
    ],
)
def test_what_mends_a_file_leaves_what_is_whole(
    content: Content, harm: Harm | None, wanted: bytes, written: tuple[int, ...]
) -> None:
    found = find_harm("abctl/test", content, FORM, BLANK)
    assert (found.harm if found else None) == harm
    if found:
        assert (found.path, found.problem, found.wanted) == ("abctl/test", content.problem, wanted)
        assert tuple(at for at, _ in found.parts) == written
        assert all(wanted[at : at + len(data)] == data for at, data in found.parts)
        assert found.keeps is (GOOD in content.data)


@pytest.mark.parametrize(
    ("content", "harm", "wanted"),
    [
        (Content(b"m" * 256), None, b""),
        (Content(b"m" * 30), Harm.SHORT, b"m" * 30 + BLANK[30:]),
        (Content(b"m" * 128 + ZEROS, "EIO"), Harm.HALF, b"m" * 128 + BLANK[128:]),
        (Content(ZEROS + ZEROS, "EIO"), Harm.UNREADABLE, BLANK),
    ],
)
def test_a_file_without_seals_keeps_what_can_be_read(
    content: Content, harm: Harm | None, wanted: bytes
) -> None:
    found = find_harm("abctl/marks", content, None, BLANK)
    assert (found.harm if found else None) == harm
    assert (found.wanted if found else b"") == wanted


def test_nothing_is_known_of_a_file_that_cannot_be_read() -> None:
    assert Content(ZEROS + ZEROS, "EIO").known == b""
    assert Content(ZEROS + GOOD, "EIO").known == ZEROS + GOOD
    assert Content(ZEROS).known == ZEROS
