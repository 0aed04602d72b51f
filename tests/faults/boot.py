"""Faults in GRUB's scripts."""

from tests.faults.mutant import Mutant

_NEXT_BOOT = "tests/test_next_boot.py::"
_DEFECTS = "tests/test_defects.py::test_"
_UNSETTLED = "tests/test_unsettled.py::test_"
_ON_DISK = "tests/test_defects_on_disk.py::test_"
_SELECT = "grub/select.cfg"
_STATE = "grub/state.cfg"
_GRUB = "grub/grub.cfg"

MUTANTS = (
    Mutant(
        "an attempt is not saved",
        _SELECT,
        'if save_env -f "$prefix/env$1/grubenv" attempts; then',
        "if true; then",
        (f"{_DEFECTS}d1_a_trial_falls_back_in_both_directions",),
    ),
    Mutant(
        "whether an attempt was saved is not looked at",
        _SELECT,
        '    set attempts=$1\n    [ -n "$saved" ]',
        "    set attempts=$1\n    true",
        (f"{_NEXT_BOOT}test_copies_that_grub_cannot_write_are_predicted",),
    ),
    Mutant(
        "attempts stay at 1",
        _SELECT,
        'elif [ "$attempts" = 1 ]; then set left=0',
        'elif [ "$attempts" = 1 ]; then set left=1',
        (f"{_DEFECTS}a_panic_ends_an_attempt",),
    ),
    Mutant(
        "a test without a space: the primary B is not seen",
        _SELECT,
        'if [ "$primary" = B ]; then',
        'if [ "$primary" = "B"]; then',
        (f"{_DEFECTS}d1_a_trial_falls_back_in_both_directions",),
    ),
    Mutant(
        "a test without a space: the older system's B is not seen",
        _STATE,
        'if [ "$boot_alternative" = B ]; then',
        'if [ "$boot_alternative" = "B"]; then',
        (f"{_ON_DISK}grub_alone_boots_what_the_older_system_would_have",),
    ),
    Mutant(
        "GRUB reads only one copy",
        _STATE,
        "read_copy 2\nif copy_is_whole; then",
        "read_copy 2\nif false; then",
        (f"{_DEFECTS}d7_any_one_copy_may_be_lost",),
    ),
    Mutant(
        "GRUB takes the higher of two counts of attempts",
        _STATE,
        'if [ "$attempts_1" -lt "$attempts" ]',
        'if [ "$attempts_1" -gt "$attempts" ]',
        (f"{_NEXT_BOOT}test_every_pair_of_attempts_in_two_copies_is_predicted",),
    ),
    Mutant(
        "a slot set that is being written is still a way out",
        _SELECT,
        'if [ "$second_state" = empty ]; then set second=; fi',
        "",
        (f"{_NEXT_BOOT}test_every_state_is_predicted_whoever_lacks_a_kernel",),
    ),
    Mutant(
        "a trial without a kernel keeps its attempts",
        _GRUB,
        "        save_attempts 0\n",
        "        true\n",
        (f"{_DEFECTS}a_kernel_that_cannot_be_loaded_gives_way",),
    ),
    Mutant(
        "a panic hangs",
        _GRUB,
        " panic=10",
        "",
        (f"{_DEFECTS}a_panic_reboots_instead_of_hanging",),
    ),
    Mutant(
        "GRUB does not look at the seal of a copy",
        _STATE,
        'elif [ "$seal" != "$primary/$trial/$state_A/$state_B" ]; then false',
        'elif [ -z "$seal" ]; then false',
        (f"{_NEXT_BOOT}test_a_copy_that_contradicts_its_seal_is_not_taken",),
    ),
    Mutant(
        "GRUB does not count the boots of the primary",
        _SELECT,
        'if [ -n "$unsettled" -a "$other_state" != empty ]; then',
        "if false; then",
        (f"{_UNSETTLED}a_primary_that_never_comes_up_gives_way_to_the_other_slot_set",),
    ),
    Mutant(
        "a primary without a count is counted",
        _SELECT,
        'if [ -n "$unsettled" -a "$other_state" != empty ]; then',
        'if [ "$other_state" != empty ]; then',
        (f"{_UNSETTLED}a_system_that_does_not_answer_is_never_counted",),
    ),
    Mutant(
        "an empty slot set has its turn",
        _SELECT,
        'if [ -n "$unsettled" -a "$other_state" != empty ]; then',
        'if [ -n "$unsettled" ]; then',
        (f"{_NEXT_BOOT}test_every_count_of_boots_is_predicted",),
    ),
    Mutant(
        "a count that could not be saved sends the host away",
        _SELECT,
        'if save_count "$count"; then',
        'save_count "$count"; if true; then',
        (f"{_NEXT_BOOT}test_a_count_that_grub_cannot_write_is_predicted_and_counts_as_none",),
    ),
    Mutant(
        "a count that the disk drops is taken for saved",
        _SELECT,
        'if [ "$unsettled" = "$2" ]; then set saved=1; fi',
        "set saved=1",
        (f"{_NEXT_BOOT}test_a_count_that_the_disk_drops_counts_as_none",),
    ),
    Mutant(
        "the turn of the other slot set never ends",
        _SELECT,
        'elif [ "$unsettled" = 22221 ]; then set count=22222',
        'elif [ "$unsettled" = 22221 ]; then set count=22221',
        (f"{_UNSETTLED}where_neither_comes_up_they_take_turns",),
    ),
    Mutant(
        "GRUB takes the lower of two counts of boots",
        _STATE,
        'if [ "$unsettled_1" -gt "$unsettled" ]',
        'if [ "$unsettled_1" -lt "$unsettled" ]',
        (f"{_NEXT_BOOT}test_every_pair_of_counts_in_two_copies_is_predicted",),
    ),
    Mutant(
        "an attempt counts as spent although the disk dropped the write",
        _SELECT,
        'if [ "$attempts" = "$2" ]; then set saved=1; fi',
        "set saved=1",
        (f"{_NEXT_BOOT}test_a_write_that_the_disk_drops_is_no_write",),
    ),
)
