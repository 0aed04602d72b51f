"""What abctl says of the next power-on is what the shipped scripts do in GRUB's own interpreter."""

from dataclasses import replace
from itertools import combinations, product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from abctl.core.bootenv import (
    BLOCK_SIZE,
    OLDER_BLOCK_SIZE,
    UNSETTLED_MAX,
    BootEnv,
    Copy,
    EnvFiles,
    SlotState,
    Trial,
    Why,
    decode,
    encode,
    encode_older,
)
from abctl.core.envblock import HEADER, make_block
from abctl.core.grub import next_boot
from abctl.core.slot import SlotName
from tests.grubs import Decision, Kernels, ManyGrubs, assert_predicted, predict, real_grub
from tests.states import all_states, boot_envs, counted_states, files_of

A, B = SlotName.A, SlotName.B
STATES = all_states()
OLDER_CYCLES = (None, "", "stable", "install", "first_boot", "failsafe_check", "failsafe_c", "STABLE")


def older_files() -> list[bytes]:
    """Return the older system's file in each of its states, and damaged."""
    blocks = []
    for named, cycle in product((None, "A", "B", "C"), OLDER_CYCLES):
        values = {"boot_alternative": named, "boot_cycle": cycle, "other": "kept"}
        blocks.append(make_block({name: v for name, v in values.items() if v is not None}, OLDER_BLOCK_SIZE))
    armed = make_block({"boot_alternative": "B", "boot_cycle": "first_boot"}, OLDER_BLOCK_SIZE)
    blocks += [b"\0" * OLDER_BLOCK_SIZE, armed[:60] + b"\0" * 964, b"#" * OLDER_BLOCK_SIZE]
    blocks.append(
        make_block({"boot_alternative": "A", "boot_cycle": "first_boot", "x": "y" * 922}, OLDER_BLOCK_SIZE)
    )
    return blocks


def torn(old: bytes, new: bytes) -> list[bytes]:
    """Return a write cut at every byte that means something, from either end."""
    ends = [at for at in range(len(new)) if new[at : at + 1] == b"\n" or old[at : at + 1] == b"\n"]
    cuts = sorted({at + near for at in ends for near in (-1, 0, 1)} | {0, len(HEADER) + 12, 256, BLOCK_SIZE})
    return [half for at in cuts for half in (new[:at] + old[at:], old[:at] + new[at:])]


def decide(cases: list[EnvFiles]) -> list[Decision]:
    """Return what GRUB decides for each."""
    with ManyGrubs() as grub:
        return grub.decide(cases)


def assert_all_predicted(cases: list[EnvFiles]) -> None:
    for files, decided in zip(cases, decide(cases), strict=True):
        choice = next_boot(files)
        assert decided == (
            choice.slot_set,
            choice.second or "",
            choice.why,
            choice.origin,
            choice.attempts,
            choice.files,
        ), files


def counted(primary: SlotName, unsettled: int) -> BootEnv:
    """Return a host whose primary answers, and whose boots were counted so often since."""
    env = BootEnv(primary, generation=5, answering=frozenset({primary}), unsettled=unsettled)
    return env.with_state(primary, SlotState.GOOD)


def with_second(env: BootEnv, block: bytes) -> EnvFiles:
    return files_of(env).with_copy(Copy.SECOND, block)


@pytest.mark.slow
@pytest.mark.parametrize("missing_kernels", [(), (A,), (B,), (A, B)])
def test_every_state_is_predicted_whoever_lacks_a_kernel(missing_kernels: tuple[SlotName, ...]) -> None:
    """The whole grub.cfg, for the states that differ in what may be booted."""
    kernels = {name: name not in missing_kernels for name in SlotName}
    for env in STATES:
        if {env[name].state for name in SlotName} <= {SlotState.GOOD, SlotState.EMPTY}:
            assert_predicted(files_of(env), kernels)


@pytest.mark.slow
@pytest.mark.parametrize("generation", [4, 5, 6])
def test_every_state_is_predicted_beside_an_older_an_equal_and_a_newer_copy(generation: int) -> None:
    other = BootEnv(B, Trial(A, 2), generation=generation)
    assert_all_predicted([with_second(env, encode(other)) for env in STATES])
    assert_all_predicted(
        [files_of(env).with_copy(Copy.FIRST, encode(replace(env, generation=generation))) for env in STATES]
    )


@pytest.mark.slow
@pytest.mark.parametrize("lost", [Copy.FIRST, Copy.SECOND])
def test_every_state_is_predicted_with_one_copy_missing(lost: Copy) -> None:
    assert_all_predicted([files_of(env).with_copy(lost, None) for env in STATES])


@pytest.mark.parametrize(("first", "second"), list(product("0123x", repeat=2)))
def test_every_pair_of_attempts_in_two_copies_is_predicted(first: str, second: str) -> None:
    block = encode(BootEnv(A, Trial(B, 3), generation=5))
    blocks = [block.replace(b"attempts=3", f"attempts={text}".encode()) for text in (first, second)]
    assert_predicted(EnvFiles(blocks[0], blocks[1], encode_older(BootEnv(A))))


# --- boots of the primary that nobody answers for ---------------------------------------------------

TURN = [*range(UNSETTLED_MAX - 1, UNSETTLED_MAX + 2), 2 * UNSETTLED_MAX]
COUNTS = ("00000", "10000", "11110", "11111", "21111", "22222")


def test_every_count_of_boots_is_predicted() -> None:
    assert_all_predicted([files_of(env) for env in counted_states()])


def test_every_pair_of_counts_in_two_copies_is_predicted() -> None:
    block, texts = encode(counted(A, 0)), (*COUNTS, "", "0", "6", "11112", "20000", "99999", "-1111", "x1111")
    blocks = [block.replace(b"unsettled=00000", f"unsettled={text}".encode()) for text in texts]
    blocks = [block.ljust(BLOCK_SIZE, b"#") for block in blocks]
    older = encode_older(BootEnv(A))
    assert_all_predicted([EnvFiles(first, second, older) for first, second in product(blocks, repeat=2)])


@pytest.mark.parametrize("missing_kernels", [(), (A,), (B,)])
@pytest.mark.parametrize("primary", [A, B])
def test_the_turn_of_the_other_slot_set_is_predicted_whoever_lacks_a_kernel(
    primary: SlotName, missing_kernels: tuple[SlotName, ...]
) -> None:
    kernels = {name: name not in missing_kernels for name in SlotName}
    for unsettled in TURN:
        boot = assert_predicted(files_of(counted(primary, unsettled)), kernels)
        is_its_turn = UNSETTLED_MAX <= unsettled < 2 * UNSETTLED_MAX
        assert boot.chosen is (primary.other if is_its_turn else primary)
        assert boot.booted is (boot.chosen if kernels[boot.chosen] else boot.chosen.other)
        if is_its_turn and kernels[boot.chosen]:
            assert (boot.why, boot.passed_over) == (Why.UNSETTLED, primary)


@pytest.mark.parametrize("unwritable", [u for n in range(1, 3) for u in combinations(Copy, n)])
def test_a_count_that_grub_cannot_write_is_predicted_and_counts_as_none(unwritable: tuple[Copy, ...]) -> None:
    both = files_of(counted(A, UNSETTLED_MAX))
    for files in (both, replace(both, first=None), replace(both, second=None)):
        boot = assert_predicted(files, unwritable=unwritable)
        copies = {copy for copy in (Copy.FIRST, Copy.SECOND) if files[copy]}
        assert boot.booted is (A if copies <= set(unwritable) else B)


def test_a_count_that_the_disk_drops_counts_as_none() -> None:
    files = files_of(counted(A, UNSETTLED_MAX))
    machine = real_grub().machine
    machine.inject = f"retval={BLOCK_SIZE}:when=1+1"
    real = machine.power_on(files)
    machine.inject = ""
    assert (real.booted, real.why, real.files) == (A, "primary", files)


@pytest.mark.parametrize("before_write", [1, 2])
def test_power_lost_while_grub_counts_leaves_what_was_predicted(before_write: int) -> None:
    files, kernels = files_of(counted(A, UNSETTLED_MAX)), {A: True, B: True}
    stages = predict(files, kernels).stages
    assert len(stages) == 3
    assert real_grub().machine.cut_power(files, kernels, before_write) == stages[before_write - 1]


# --- a write torn, a file missing or damaged --------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("copy", [Copy.FIRST, Copy.SECOND])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (BootEnv(A, generation=9), BootEnv(A, Trial(B, 3), generation=10)),
        (BootEnv(A, Trial(B, 3), generation=10), BootEnv(B, generation=11)),
        (BootEnv(B, Trial(A, 1), generation=5), BootEnv(B, Trial(A, 0), generation=5)),
        (counted(A, 2), counted(A, 3)),
        (counted(A, 2), replace(counted(A, 0), generation=6)),
        (BootEnv(A, generation=5), BootEnv(B, generation=6).with_state(A, SlotState.EMPTY)),
    ],
    ids=["arm", "confirm", "spend", "count", "answer", "disarm"],
)
def test_a_write_torn_anywhere_is_predicted_and_changes_nothing(
    copy: Copy, old: BootEnv, new: BootEnv
) -> None:
    before = files_of(old)
    cases = [before.with_copy(copy, block) for block in torn(encode(old), encode(new))]
    assert_all_predicted(cases)
    choices = {(next_boot(files).slot_set, next_boot(files).why) for files in cases}
    assert choices <= {
        (next_boot(files_of(env)).slot_set, next_boot(files_of(env)).why) for env in (old, new)
    }


@pytest.mark.slow
@pytest.mark.parametrize("missing", [(Copy.FIRST, Copy.SECOND), ()], ids=["missing", "damaged"])
def test_the_older_systems_file_counts_when_both_copies_are_lost(missing: tuple[Copy, ...]) -> None:
    damaged = encode(BootEnv(B))[:200].ljust(BLOCK_SIZE, b"\0")
    copies = EnvFiles() if missing else EnvFiles(damaged, b"\0" * BLOCK_SIZE)
    assert_all_predicted([replace(copies, older=block) for block in older_files()])


@pytest.mark.parametrize("present", [present for n in range(3) for present in combinations(Copy, n)])
def test_any_file_may_be_missing(present: tuple[Copy, ...]) -> None:
    whole = files_of(BootEnv(B, Trial(A, 2), generation=3))
    assert_predicted(EnvFiles(**{copy.name.lower(): whole[copy] for copy in present}))


@pytest.mark.parametrize("size", [0, 1, 24, 25, 26, 40, 511, 513, 1024, 4096])
@pytest.mark.parametrize("copy", Copy)
def test_a_file_may_have_any_size(copy: Copy, size: int) -> None:
    files = files_of(BootEnv(A, Trial(B, 1), generation=3)) if copy is not Copy.OLDER else EnvFiles()
    older = make_block({"boot_alternative": "B", "boot_cycle": "first_boot"}, OLDER_BLOCK_SIZE)
    block = (files[copy] or older)[:size].ljust(size, b"#")
    assert_predicted(files.with_copy(copy, block))


@pytest.mark.parametrize("unwritable", [u for n in range(1, 4) for u in combinations(Copy, n)])
@pytest.mark.parametrize("kernels", [{A: True, B: True}, {A: True, B: False}], ids=["kernel", "no kernel"])
def test_copies_that_grub_cannot_write_are_predicted(unwritable: tuple[Copy, ...], kernels: Kernels) -> None:
    """strace makes the writes of the real GRUB fail."""
    both = files_of(BootEnv(A, Trial(B, 3), generation=5))
    older = make_block({"boot_alternative": "B", "boot_cycle": "first_boot"}, OLDER_BLOCK_SIZE)
    for files in (both, replace(both, first=None), replace(both, second=None), EnvFiles(older=older)):
        assert_predicted(files, kernels, unwritable)


@pytest.mark.parametrize("copy", [Copy.FIRST, Copy.SECOND])
@pytest.mark.parametrize(
    ("written", "damaged"),
    [(b"primary=A", b"primary=B"), (b"trial=B", b"trial=A"), (b"state_A=good", b"state_A=evil")],
    ids=["primary", "trial", "state"],
)
def test_a_copy_that_contradicts_its_seal_is_not_taken(copy: Copy, written: bytes, damaged: bytes) -> None:
    env = BootEnv(A, Trial(B, 2), generation=5).with_state(A, SlotState.GOOD)
    whole = files_of(env)
    files = whole.with_copy(copy, (whole[copy] or b"").replace(written, damaged))
    boot = assert_predicted(files)
    assert boot.origin == ("2" if copy is Copy.FIRST else "1")
    assert (boot.booted, boot.attempts) == (B, "1")


@pytest.mark.parametrize("before_write", [1, 2, 3, 4])
def test_power_lost_within_grub_leaves_what_was_predicted(before_write: int) -> None:
    """The real GRUB is killed before its n-th write: two spend the attempt, two end the trial."""
    files, kernels = files_of(BootEnv(A, Trial(B, 3), generation=5)), {A: True, B: False}
    stages = predict(files, kernels).stages
    assert len(stages) == 5
    assert real_grub().machine.cut_power(files, kernels, before_write) == stages[before_write - 1]


def test_a_write_that_the_disk_drops_is_no_write() -> None:
    """A disk that says yes and keeps nothing would boot a broken trial for ever."""
    files = files_of(BootEnv(A, Trial(B, 3), generation=5))
    machine = real_grub().machine
    machine.inject = f"retval={BLOCK_SIZE}:when=1+1"
    real = machine.power_on(files)
    machine.inject = ""
    assert (real.booted, real.why, real.files) == (A, "unsaved", files)


# --- at random --------------------------------------------------------------------------------------

BLOCKS = boot_envs().map(encode)


@st.composite
def damaged_blocks(draw: st.DrawFn) -> bytes | None:
    """Return a copy with some bytes changed, cut out or put in, made of random lines, or none at all."""
    block = bytearray(draw(BLOCKS))
    match draw(st.sampled_from(["whole", "changed", "cut", "lines", "noise", "missing"])):
        case "changed":
            for at in draw(st.lists(st.integers(0, len(block) - 1), min_size=1, max_size=4)):
                block[at] = draw(st.integers(0, 255))
        case "cut":
            start, end = sorted(draw(st.tuples(*[st.integers(0, len(block))] * 2)))
            block = (block[:start] + block[end:]).ljust(BLOCK_SIZE, b"#")
        case "lines":
            words = ["generation=5", "generation_end=5", "primary=A", "primary=B", "trial=B", "attempts=2"]
            words += ["attempts=1", "state_A=good", "state_B=empty", "seal=A/B/good/empty", "seal=A///"]
            words += ["\\", "=", "#", "generation=-1", "generation_end=-1", "attempts=0x1", "attempts= 1"]
            lines = draw(st.lists(st.sampled_from(words), max_size=12))
            block = bytearray(HEADER + "".join(f"{line}\n" for line in lines).encode()).ljust(
                BLOCK_SIZE, b"#"
            )
        case "noise":
            block = bytearray(HEADER + draw(st.binary(max_size=400))).ljust(BLOCK_SIZE, b"#")
        case "missing":
            return None
    return bytes(block)[:BLOCK_SIZE]


TWICE = encode(BootEnv(A, Trial(B, 3), generation=5)).replace(b"####", b"attempts=3\n", 1)[:BLOCK_SIZE]


@pytest.mark.slow
@settings(max_examples=400)
@given(
    first=damaged_blocks(),
    second=damaged_blocks(),
    older=st.sampled_from(older_files()) | st.none(),
    unwritable=st.sets(st.sampled_from(Copy), max_size=1),
)
@example(first=TWICE, second=TWICE, older=None, unwritable=set())
def test_whatever_stands_on_the_grub_partition_is_predicted(
    first: bytes | None, second: bytes | None, older: bytes | None, unwritable: set[Copy]
) -> None:
    assert_predicted(EnvFiles(first, second, older), unwritable=unwritable)


@settings(max_examples=300)
@given(
    boot_envs(),
    st.sampled_from([Copy.FIRST, Copy.SECOND]),
    st.integers(0, BLOCK_SIZE - 1),
    st.integers(0, 255),
)
def test_one_damaged_byte_never_changes_which_slot_set_is_booted(
    env: BootEnv, copy: Copy, at: int, byte: int
) -> None:
    files = files_of(env)
    block = bytearray(files[copy] or b"")
    block[at] = byte
    after, before = next_boot(files.with_copy(copy, bytes(block))), next_boot(files)
    # At worst a count is damaged: then the trial ends, and the primary is booted; or its last boot is missed.
    is_one_short = after.why is Why.UNSETTLED and env.unsettled == UNSETTLED_MAX - 1
    same = (after.slot_set, after.second) == (before.slot_set, before.second)
    assert same or is_one_short or after.slot_set is env.primary


def test_what_grub_decides_by_is_what_abctl_reads() -> None:
    for env in STATES:
        assert decode(encode(env)) == env
