"""What is kept of trials: by abctl, by an initramfs, and by the firmware."""

from dataclasses import replace

from hypothesis import strategies as st

from abctl.core import marks
from abctl.core.crash_log import CrashPart, join_crash_logs
from abctl.core.evidence import FORM, TAIL_MAX, Evidence, Stage, decode, encode_half
from abctl.core.explain import complete, say_all
from abctl.core.health import CheckResult, Verdict
from abctl.core.marks import Mark, What, encode_marks, parse_marks
from abctl.core.slot import SlotName
from abctl.core.units import Seconds, Version
from tests.fuzz.disks import seal_half
from tests.fuzz.edits import changed_json
from tests.fuzz.target import Target

_BETWEEN = b"\n%%%%\n"  # parts of a crash log, as one input


def _evidence() -> list[bytes]:
    check = CheckResult("disk-space", True, Verdict.FAILED, "/var has 1 % free", 0.25)
    evidence = Evidence(serial=4)
    for number in (1, 2, 3):
        evidence = evidence.note(
            SlotName.B,
            Version("2.0.0"),
            17,
            number,
            Stage.CHECKS,
            at=Seconds(1),
            checks=[check],
            tail=["a line"],
        )
    return [encode_half(evidence) + encode_half(replace(Evidence(), serial=3)), encode_half(evidence)]


def _seal(data: bytes) -> bytes:
    return seal_half(data, FORM.half_size)


@st.composite
def _made(draw: st.DrawFn) -> bytes:
    """Evidence of the right digest with values of other types."""
    head, _, body = _evidence()[0][: FORM.half_size].rstrip().partition(b"\n")
    return _seal(head + b"\n" + draw(changed_json(body)))


def _check_evidence(data: bytes) -> None:
    evidence = decode(data[: FORM.file_size])
    half = encode_half(evidence)
    assert len(half) == FORM.half_size
    assert decode(half) == evidence
    for trial in evidence.trials:
        said = say_all(complete(trial, 3))
        assert said.isprintable()
        assert len(said) <= 200
        assert all(line.isprintable() for attempt in trial.attempts for line in attempt.tail)


def _check_marks(data: bytes) -> None:
    found = parse_marks(data[: marks.FILE_SIZE])
    assert parse_marks(encode_marks(found)) == found
    assert all(1 <= mark.number <= 3 for mark in found)


def _crash_parts() -> list[bytes]:
    parts = [b"Panic#1 Part%d\n<4>[    1.%02d] a line\n<0>[    2.0] another" % (n, 9 - n) for n in (1, 2, 3)]
    return [_BETWEEN.join(parts), parts[0] + _BETWEEN + parts[0].replace(b"Panic", b"Oops")]


def _check_crash_parts(data: bytes) -> None:
    parts = [CrashPart(float(number), part) for number, part in enumerate(data.split(_BETWEEN))]
    for log in join_crash_logs(parts):
        assert 0 < len(log.lines) <= TAIL_MAX
        assert all(line.isprintable() for line in log.lines)


TARGETS = (
    Target("evidence", _evidence, _check_evidence, _made(), _seal, cost=5),
    Target("marks", lambda: [encode_marks([Mark(17, 2), Mark(17, 1, What.FAILED)])], _check_marks),
    Target("crash-log", _crash_parts, _check_crash_parts),
)
