"""A file in two halves: a half is believed only as it was sealed."""

import pytest

from abctl.core.halves import Halves

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
