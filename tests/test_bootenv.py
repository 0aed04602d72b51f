from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.core.bootenv import (
    BLOCK_SIZE,
    GENERATION_MAX,
    OLDER_BLOCK_SIZE,
    UNSETTLED_MAX,
    BlockDamaged,
    BootEnv,
    Copy,
    EnvFiles,
    Origin,
    Outcome,
    SlotSet,
    SlotState,
    Trial,
    decode,
    decode_older,
    encode,
    encode_older,
    read_boot_env,
    writing_order,
)
from abctl.core.envblock import make_block, parse_block, save_value
from abctl.core.grub import answer, choose_copy, save_in_copies
from abctl.core.slot import SlotName
from abctl.core.units import VERSION_MAX, Version
from tests.states import boot_envs, files_of

A, B = SlotName.A, SlotName.B
LONGEST = Version("v" * VERSION_MAX)
ENV = BootEnv(A, Trial(B, 2), {A: SlotSet(SlotState.GOOD, Version("1")), B: SlotSet()}, generation=7)


@given(boot_envs())
def test_a_state_is_read_as_it_was_written(env: BootEnv) -> None:
    assert decode(encode(env)) == env


@given(boot_envs())
def test_a_state_fills_one_sector(env: BootEnv) -> None:
    assert len(encode(env)) == BLOCK_SIZE


def test_the_longest_state_leaves_room_for_more_variables() -> None:
    sets = {name: SlotSet(SlotState.UNTESTED, LONGEST) for name in SlotName}
    trial, both = Trial(B, 3), frozenset(SlotName)
    block = encode(BootEnv(A, trial, sets, Outcome.ROLLED_BACK, GENERATION_MAX, both, 2 * UNSETTLED_MAX))
    assert block.count(b"#") > 100


@given(boot_envs(), st.integers(0, BLOCK_SIZE - 1), st.integers(0, 255))
def test_a_changed_byte_is_noticed_or_changes_nothing_but_a_count(env: BootEnv, at: int, byte: int) -> None:
    block = bytearray(encode(env))
    block[at] = byte
    try:
        read = decode(bytes(block))
    except BlockDamaged:
        return
    assert read.unsettled <= env.unsettled + 1
    read = replace(read, unsettled=env.unsettled)
    assert read == env or (read.trial and replace(read, trial=env.trial) == env)


@given(boot_envs(), boot_envs(), st.integers(0, BLOCK_SIZE), st.booleans())
def test_half_of_one_state_and_half_of_another_is_not_a_third(
    old: BootEnv, new: BootEnv, at: int, from_front: bool
) -> None:
    first, last = (new, old) if from_front else (old, new)
    torn = encode(first)[:at] + encode(last)[at:]
    try:
        read = decode(torn)
    except BlockDamaged:
        return
    counts = {env.unsettled for env in (old, new)}
    assert read.unsettled in counts
    old, new, read = (replace(env, unsettled=0) for env in (old, new, read))
    known = {env.trial.attempts for env in (old, new) if env.trial}
    assert read in (old, new) or (
        read.trial
        and read.trial.attempts in known
        and without_attempts(read) in map(without_attempts, (old, new))
    )


def without_attempts(env: BootEnv) -> BootEnv:
    return replace(env, trial=replace(env.trial, attempts=0) if env.trial else None)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"", "it is not a GRUB environment block"),
        (b"\0" * BLOCK_SIZE, "it is not a GRUB environment block"),
        (make_block({}, BLOCK_SIZE), "it was not written to its end"),
        (encode(ENV)[:100].ljust(BLOCK_SIZE, b"#"), "it was not written to its end"),
        (encode(ENV).replace(b"generation_end=7", b"generation_end=6"), "it was not written to its end"),
        (encode(ENV).replace(b"primary=A", b"primary=B"), "it was not written to its end"),
        (encode(ENV).replace(b"version_A=1", b"version_A=2"), "its checksum does not match"),
        (encode(ENV).replace(b"attempts=2", b"attempts=4"), "attempts must be 0 to 3, not 4"),
        (encode(ENV).replace(b"attempts=2", b"attempts= "), "' ' is not a number"),
    ],
)
def test_a_damaged_copy_is_not_believed_and_the_reason_is_told(block: bytes, why: str) -> None:
    with pytest.raises(BlockDamaged, match=why):
        decode(block)


def test_grub_may_rewrite_the_attempts_without_breaking_the_checksum() -> None:
    spent = save_value(encode(ENV), "attempts", "1")
    assert spent is not None
    assert decode(spent) == replace(ENV, trial=Trial(B, 1))


@pytest.mark.parametrize("text", ["10000", "11111", "22222"])
def test_grub_may_rewrite_the_count_without_breaking_the_checksum(text: str) -> None:
    env = replace(ENV, answering=frozenset({A}))
    counted = save_value(encode(env), "unsettled", text)
    assert counted is not None
    assert len(counted) == BLOCK_SIZE
    assert encode(decode(counted)) == counted
    assert replace(decode(counted), unsettled=0) == env


@pytest.mark.parametrize("text", ["", "0", "5", "01000", "11112", "99999", "-1111", "x"])
def test_a_count_that_nobody_writes_is_none(text: str) -> None:
    env = replace(ENV, answering=frozenset({A}), unsettled=3)
    damaged = save_value(encode(env), "unsettled", text)
    assert damaged is not None
    assert decode(damaged) == replace(env, unsettled=0)
    files = EnvFiles(damaged, damaged, encode_older(env))
    assert not read_boot_env(files).in_step


def test_a_primary_that_does_not_answer_has_no_count() -> None:
    assert b"unsettled" not in encode(replace(ENV, answering=frozenset({B})))
    with pytest.raises(ValueError, match="3 unsettled boots"):
        replace(ENV, unsettled=3)
    with pytest.raises(ValueError, match="11 unsettled boots"):
        replace(ENV, answering=frozenset({A}), unsettled=11)


@pytest.mark.parametrize("ahead", [Copy.FIRST, Copy.SECOND])
def test_a_boot_counted_in_one_copy_is_counted(ahead: Copy) -> None:
    env = replace(ENV, answering=frozenset({A}), unsettled=2)
    files = files_of(env)
    files = files.with_copy(ahead, encode(replace(env, unsettled=3)))
    reading = read_boot_env(files)
    assert (reading.env, reading.in_step) == (replace(env, unsettled=3), False)
    assert choose_copy(files)[1]["unsettled"] == "11100"


def test_a_slot_set_cannot_be_primary_and_on_trial() -> None:
    with pytest.raises(ValueError, match="primary and on trial"):
        BootEnv(A, Trial(A, 3))


# --- the older system's file ------------------------------------------------------------------------


def older(**values: str) -> bytes:
    return make_block(values, OLDER_BLOCK_SIZE)


@pytest.mark.parametrize("named", list(SlotName))
@pytest.mark.parametrize("cycle", ["stable", "install", None])
def test_the_older_systems_slot_set_stays_the_primary(named: SlotName, cycle: str | None) -> None:
    cycles = {"boot_cycle": cycle} if cycle else {}
    env = decode_older(older(boot_alternative=named, **cycles))
    assert (env.primary, env.trial, env[named].state) == (named, None, SlotState.GOOD)
    assert env[named.other].state is SlotState.UNTESTED


@pytest.mark.parametrize("named", list(SlotName))
@pytest.mark.parametrize(("cycle", "attempts"), [("first_boot", 1), ("failsafe_check", 0), ("failsafe_c", 0)])
def test_the_older_systems_first_boot_is_a_trial(named: SlotName, cycle: str, attempts: int) -> None:
    env = decode_older(older(boot_alternative=named, boot_cycle=cycle))
    assert (env.primary, env.trial) == (named.other, Trial(named, attempts))
    assert env[named.other].state is SlotState.GOOD


@pytest.mark.parametrize("block", [b"", b"\0" * 1024, older(), older(other="1")])
def test_an_older_file_that_names_nothing_says_nothing(block: bytes) -> None:
    with pytest.raises(BlockDamaged):
        decode_older(block)


def test_the_older_file_keeps_its_other_variables_and_its_size() -> None:
    block = make_block({"saved_entry": "0", "boot_alternative": "A", "boot_cycle": "first_boot"}, 2048)
    written = encode_older(BootEnv(B), block)
    assert parse_block(written) == {"saved_entry": "0", "boot_alternative": "B", "boot_cycle": "stable"}
    assert len(written) == len(block)


@pytest.mark.parametrize(
    "block", [None, b"", b"\0" * 1024, older(a="x" * 980), older(a="1")[:-500] + b"\0" * 500]
)
def test_a_damaged_older_file_is_made_anew(block: bytes | None) -> None:
    assert encode_older(BootEnv(B), block) == older(boot_alternative="B", boot_cycle="stable")


def test_an_older_file_that_names_a_slot_set_twice_is_made_anew() -> None:
    twice = older(boot_alternative="A", boot_cycle="stable").replace(b"####", b"boot_alternative=A\n", 1)
    assert decode_older(encode_older(BootEnv(B), twice[:OLDER_BLOCK_SIZE])).primary is B


# --- the three together -----------------------------------------------------------------------------


@pytest.mark.parametrize("newer", [Copy.FIRST, Copy.SECOND])
def test_the_newer_copy_counts_and_the_other_is_written_first(newer: Copy) -> None:
    files = files_of(ENV).with_copy(newer, encode(replace(ENV, generation=8, outcome=Outcome.ARMED)))
    reading = read_boot_env(files)
    assert reading.env == replace(ENV, generation=8, outcome=Outcome.ARMED)
    assert not reading.in_step
    assert writing_order(files)[1:] == (newer, Copy.OLDER)


@pytest.mark.parametrize("spent", [Copy.FIRST, Copy.SECOND])
def test_an_attempt_spent_in_one_copy_is_spent(spent: Copy) -> None:
    files = files_of(ENV)
    files = files.with_copy(spent, save_value(files[spent], "attempts", "1"))
    reading = read_boot_env(files)
    assert reading.env == replace(ENV, trial=Trial(B, 1))
    assert (reading.origin, reading.in_step) == (Origin.BOTH, False)
    assert writing_order(files)[1] is spent


@pytest.mark.parametrize("damaged", [Copy.FIRST, Copy.SECOND])
def test_a_copy_that_only_grub_believes_never_outlives_the_next_write(damaged: Copy) -> None:
    wrong = encode(replace(ENV, generation=9)).replace(b"version_A=1", b"version_A=2")
    reading = read_boot_env(files_of(ENV).with_copy(damaged, wrong))
    assert reading.env == replace(ENV, generation=9)
    assert reading.damage == (f"{damaged} is damaged: its checksum does not match",)


def test_a_generation_that_no_host_can_count_to_is_not_passed() -> None:
    wrong = encode(replace(ENV, generation=GENERATION_MAX)).replace(b"version_A=1", b"version_A=2")
    assert read_boot_env(files_of(ENV).with_copy(Copy.SECOND, wrong)).env == ENV


def test_all_three_in_step_is_told() -> None:
    files = files_of(ENV)
    assert read_boot_env(files).in_step
    assert not read_boot_env(files.with_copy(Copy.OLDER, None)).in_step
    assert not read_boot_env(files.with_copy(Copy.OLDER, encode_older(BootEnv(B)))).in_step


def test_without_any_copy_nothing_is_known() -> None:
    reading = read_boot_env(EnvFiles(first=b"\0" * 512))
    assert (reading.env, reading.origin) == (None, Origin.NONE)
    assert reading.damage == (
        "env1/grubenv is damaged: it is not a GRUB environment block",
        "env2/grubenv is missing or cannot be read",
    )


def test_a_copy_that_grub_cannot_save_to_is_not_in_step() -> None:
    block = encode(BootEnv(SlotName.A))
    damaged = block[:-1] + b"\0"
    files = EnvFiles(block, damaged, encode_older(BootEnv(SlotName.A)))
    assert decode(damaged) == BootEnv(SlotName.A)
    assert not read_boot_env(files).in_step
    assert read_boot_env(files.with_copy(Copy.SECOND, block)).in_step


@pytest.mark.parametrize("generation", [-1, GENERATION_MAX + 1])
def test_a_generation_that_grub_could_not_compare_is_none(generation: int) -> None:
    with pytest.raises(ValueError, match=f"generation must be 0 to {GENERATION_MAX}, not {generation}"):
        BootEnv(A, generation=generation)


def test_an_answer_settles_the_count_in_the_copies_that_have_one_and_changes_nothing_else() -> None:
    counted = replace(ENV, trial=None, answering=frozenset({A}), unsettled=3)
    files = EnvFiles(encode(counted), encode(replace(counted, unsettled=4)), encode_older(counted))
    answered = answer(files)
    assert answered == EnvFiles(*(encode(replace(counted, unsettled=0)),) * 2, files.older)
    # A copy without a count, one that is missing, and one that nobody can save to stay as they are.
    damaged = encode(counted).rstrip(b"#")[:-1].ljust(BLOCK_SIZE, b"#")
    for other in (encode(replace(ENV, trial=None)), None, damaged):
        assert answer(EnvFiles(other, files.second)) == EnvFiles(other, answered.second)


def test_grub_saves_in_each_copy_that_it_took_and_can_write_and_looks_whether_one_gives_it_back() -> None:
    block, spent = encode(ENV), encode(replace(ENV, trial=Trial(B, 1)))
    files = EnvFiles(block, block, b"older")
    both = Copy.FIRST, Copy.SECOND
    for origin, unwritable, after in (
        (Origin.BOTH, (), (spent, spent)),
        (Origin.BOTH, both[:1], (block, spent)),
        (Origin.BOTH, both[1:], (spent, block)),
        (Origin.BOTH, both, (block, block)),
        (Origin.FIRST, (), (spent, block)),
        (Origin.SECOND, (), (block, spent)),
        (Origin.NONE, (), (block, block)),
    ):
        expected = EnvFiles(*after, b"older"), spent in after
        assert save_in_copies(files, origin, "attempts", "1", unwritable) == expected
    # The first line of a name is written, and the last is read: such a save is none.
    twice = make_block({"x": "1"}, 64).replace(b"x=1\n#", b"x=1\nx=1\n#")[:64]
    written, saved = save_in_copies(EnvFiles(older=twice), Origin.OLDER, "x", "2")
    assert (parse_block(written.older), saved) == ({"x": "1"}, False)
    assert written.older != twice
    whole = save_in_copies(EnvFiles(twice, spent), Origin.BOTH, "attempts", "0")
    assert whole[1]
