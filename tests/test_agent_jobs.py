"""Jobs: the same request is the same job, and what became of it is told after the reboot too."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.agent import jobs
from abctl.agent.jobs import (
    JOBS_MAX,
    START_LIMIT,
    Job,
    Jobs,
    JobState,
    Wanted,
    cancel,
    decode,
    encode_half,
    follow,
    make_job,
)
from abctl.agent.messages import StartUpgrade, UpgradeFromUrl
from abctl.core.agent_rules import HOST_CID
from abctl.core.jobs_file import FORM
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds, Version
from abctl.errors import Busy, NothingToDo

ASKED = Seconds(1_800_000_000)
SHA256 = Digest("4f" * 32)
V2 = Version("2.0.0")


def job(number: int = 1, *, cid: int = 3, at: int = 0, **fields: object) -> Job:
    time = Seconds(ASKED + at)
    return replace(Job(f"{number:016x}", cid, time, time, Wanted(V2)), **fields)  # type: ignore[arg-type]


def later(item: Job, state: JobState) -> Job:
    return item.become(state, Seconds(item.asked + 60))


def entry(what: Happened, after: int, version: Version = V2, text: str = "") -> Entry:
    return Entry(Seconds(ASKED + after), what, SlotName.B, version, SHA256, text)


# --- the same request -------------------------------------------------------------------------------


def test_a_request_that_is_repeated_is_the_same_job_until_that_is_over() -> None:
    first = job(1)
    for state in (JobState.REQUESTED, JobState.RUNNING, JobState.INSTALLED):
        assert Jobs((later(first, state),)).request(job(2, at=70), 9).id == first.id
    for state in (JobState.FAILED, JobState.CANCELLED, JobState.CONFIRMED, JobState.FELL_BACK):
        assert Jobs((later(first, state),)).request(job(2, at=70), 9).id == job(2).id


def test_with_a_key_it_is_the_same_job_for_ever() -> None:
    first = later(job(1, key="window-7"), JobState.FELL_BACK)
    known = Jobs((first,))
    assert known.request(job(2, key="window-7"), 9) is first
    assert known.request(job(2, key="window-8"), 9).id == job(2).id
    assert known.request(job(2, cid=4, key="window-7"), 9).id == job(2).id


def test_while_one_upgrade_is_under_way_there_is_no_other() -> None:
    known = Jobs((later(job(1), JobState.RUNNING),))
    for other in (
        job(2, wanted=Wanted(Version("3.0.0"))),
        job(2, cid=4),
        job(2, wanted=Wanted(V2, reboot=False)),
    ):
        with pytest.raises(Busy, match="another upgrade of this host is under way"):
            known.request(other, 9)


def test_a_guest_may_start_so_many_in_an_hour_and_others_still_may() -> None:
    done = [later(job(number, at=number * 600), JobState.FAILED) for number in range(3)]
    known = Jobs(tuple(done))
    with pytest.raises(Busy, match="3 in an hour"):
        known.request(job(9, at=1900), 3)
    assert known.request(job(9, cid=4, at=1900), 3).cid == 4
    assert known.request(job(9, cid=HOST_CID, at=1900), 3).cid == HOST_CID
    assert known.request(job(9, at=3700), 3).id == job(9).id


def test_a_guest_sees_its_own_jobs_and_an_admin_all() -> None:
    known = Jobs((job(1), job(2, cid=4)))
    assert known.find(job(2).id, 3) is None
    assert known.find(job(2).id, 4) == job(2, cid=4)
    assert known.find(job(2).id, HOST_CID) == job(2, cid=4)
    assert [item.cid for item in known.visible_to(3)] == [3]
    assert len(known.visible_to(HOST_CID)) == 2


def test_a_guest_that_asks_without_end_pushes_out_its_own_jobs_only() -> None:
    known = Jobs((job(1, cid=4),))
    for number in range(2, 200):
        known = known.put(later(job(number), JobState.FAILED))
    assert len(known.jobs) == JOBS_MAX
    assert known.find(job(1).id, 4)
    assert known.jobs[-1].id == job(199).id


def test_a_job_is_what_was_asked_for() -> None:
    ours = StartUpgrade(version="2.0.0", reboot=False, key="k")
    assert make_job(ours, 3, "0" * 16, ASKED).wanted == Wanted(V2, reboot=False)
    older = UpgradeFromUrl.model_validate({"url": "https://x.example/i", "target-hash": "4F" * 32})
    assert make_job(older, 3, "0" * 16, ASKED).wanted == Wanted(url="https://x.example/i", sha256=SHA256)


# --- cancelling -------------------------------------------------------------------------------------


def test_what_has_not_begun_is_cancelled_at_once_and_what_runs_is_told_to_end() -> None:
    assert cancel(job(), ASKED).state is JobState.CANCELLED
    running = cancel(later(job(), JobState.RUNNING), ASKED)
    assert (running.state, running.is_cancelled) == (JobState.RUNNING, True)
    with pytest.raises(NothingToDo, match="is fell back: there is nothing to cancel"):
        cancel(later(job(), JobState.FELL_BACK), ASKED)


# --- what became of it ------------------------------------------------------------------------------


def end(*entries: Entry) -> Job:
    """Return what became of a job that ran when the host went down."""
    return follow(later(job(), JobState.RUNNING), Record(entries=entries), ASKED, is_alive=False)


def test_after_the_reboot_the_record_says_what_became_of_it() -> None:
    installed = entry(Happened.INSTALLED, 50)
    assert end(installed).state is JobState.INSTALLED
    assert end(installed, entry(Happened.CONFIRMED, 90)).state is JobState.CONFIRMED
    fell_back = end(installed, entry(Happened.FELL_BACK, 900, text="required check net failed"))
    assert (fell_back.state, fell_back.text) == (JobState.FELL_BACK, "required check net failed")
    assert fell_back.changed == ASKED + 900
    assert (fell_back.version, fell_back.sha256, fell_back.installed) == (V2, SHA256, ASKED + 50)
    assert end(installed, entry(Happened.CALLED_OFF, 90)).state is JobState.CALLED_OFF
    assert end(installed, entry(Happened.STAYED_UP, 90)).state is JobState.STAYED_UP


def test_what_became_of_another_version_or_an_earlier_trial_is_not_taken_for_it() -> None:
    earlier = (entry(Happened.INSTALLED, -500), entry(Happened.FELL_BACK, -400))
    assert end(*earlier).state is JobState.FAILED
    assert end(*earlier, entry(Happened.INSTALLED, 50)).state is JobState.INSTALLED
    other = entry(Happened.FELL_BACK, 60, Version("1.5.0"))
    assert end(entry(Happened.INSTALLED, 50), other).state is JobState.INSTALLED
    assert end(entry(Happened.INSTALLED, 50, Version("3.0.0"))).state is JobState.FAILED
    replaced = end(entry(Happened.INSTALLED, 50), entry(Happened.INSTALLED, 99, Version("3.0.0")))
    assert replaced.state is JobState.FAILED  # its last installation is another one


def test_an_installed_release_that_another_one_replaced_was_called_off() -> None:
    installed = follow(
        later(job(), JobState.RUNNING),
        Record(entries=(entry(Happened.INSTALLED, 50),)),
        ASKED,
        is_alive=False,
    )
    entries = (entry(Happened.INSTALLED, 50), entry(Happened.INSTALLED, 99, Version("3.0.0")))
    found = follow(installed, Record(entries=entries), ASKED, is_alive=False)
    assert (found.state, found.text) == (JobState.CALLED_OFF, "3.0.0 was installed in its place")


def test_a_process_that_died_in_the_middle_has_failed_and_says_what_to_do() -> None:
    found = end()
    assert found.state is JobState.FAILED
    assert "ask again, and it goes on where it was" in found.text


def test_a_process_that_lives_is_left_alone_and_a_young_one_is_waited_for() -> None:
    running = later(job(), JobState.RUNNING)
    assert follow(running, Record(), ASKED, is_alive=True) is running
    assert follow(job(), Record(), ASKED, is_alive=False) == job()
    late = follow(job(), Record(), Seconds(ASKED + START_LIMIT), is_alive=False)
    assert late.state is JobState.FAILED
    back = follow(job(), Record(), Seconds(ASKED - 5), is_alive=False)
    assert back.state is JobState.FAILED


def test_an_old_record_that_lost_the_trial_is_no_reason_to_guess() -> None:
    installed = jobs.note_installed(job(), entry(Happened.INSTALLED, 50))
    found = follow(installed, Record(entries=(entry(Happened.CONFIRMED, 90),)), ASKED, is_alive=False)
    assert found.state is JobState.FORGOTTEN
    assert found.is_over


# --- the file ---------------------------------------------------------------------------------------

texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
job_lists = st.lists(
    st.builds(
        Job,
        st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}"),
        st.integers(2, 2**32 - 2),
        st.just(ASKED),
        st.just(ASKED),
        st.builds(Wanted, st.none() | st.just(V2), st.booleans(), texts, st.none() | st.just(SHA256)),
        texts,
        st.sampled_from(JobState),
        st.booleans(),
        st.none() | st.just(V2),
        st.none() | st.just(SHA256),
        st.none() | st.just(ASKED),
        texts,
        st.none() | st.integers(0, 255),
    ),
    max_size=5,
)


@given(job_lists, st.integers(0, 1000))
def test_what_is_written_is_what_is_read(items: list[Job], serial: int) -> None:
    written = Jobs(tuple(items), serial)
    half = encode_half(written)
    assert len(half) == FORM.half_size
    assert decode(half + FORM.blank()[FORM.half_size :]) == written


def test_a_torn_write_costs_the_last_change_and_no_more() -> None:
    older, newer = Jobs((job(1),), 4), Jobs((job(1), job(2)), 5)
    halves = [b"", b""]
    for known in (older, newer):
        halves[known.serial % 2] = encode_half(known)
    assert decode(b"".join(halves)) == newer
    halves[1] = halves[1][:300] + bytes(512) + halves[1][812:]
    assert decode(b"".join(halves)) == older
    assert decode(b"") == decode(FORM.blank()) == Jobs()


def test_as_many_jobs_as_there_may_be_fit_with_their_urls() -> None:
    wanted = Wanted(url="https://x.example/" + "y" * 300, sha256=SHA256)
    known = Jobs(tuple(job(number, wanted=wanted, text="x" * 60) for number in range(JOBS_MAX)))
    found = decode(encode_half(known))
    assert found.jobs[-1] == known.jobs[-1]
    assert len(found.jobs) >= 20


def test_a_state_that_a_newer_abctl_knows_costs_that_job_only() -> None:
    half = encode_half(Jobs((job(1), job(2))))
    body = FORM.unseal(half)
    assert body is not None
    changed = FORM.seal(body.replace(b'"requested"', b'"levitated"', 1))
    assert changed is not None
    assert [item.id for item in decode(changed).jobs] == [job(2).id]
