"""Metrics: what a host tells, read back by Prometheus' own parser, and the examples that use it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from abctl.cli.describe_metrics import CHECKS_MAX, Facts, make_families
from abctl.cli.metrics_host import gather_facts
from abctl.cli.report import StatusReport
from abctl.cli.standing import report_status
from abctl.cli.wiring import Target, open_machine
from abctl.core.exposition import Family, Sample, render
from abctl.core.guest_state import GuestState, Phase
from abctl.core.health import CheckResult
from abctl.core.health import Verdict as Checked
from abctl.core.health_state import HealthState, Stand
from abctl.core.record import Entry, Happened, Record
from abctl.core.slot import Part, SlotName
from abctl.core.units import Seconds, Version
from tests.disks import GUEST, make_image
from tests.releases import pack_release
from tests.test_cli import Machine

A, B = SlotName.A, SlotName.B
METRICS = Path(__file__).parents[1] / "docs/metrics"
AT = Seconds(1_800_000_000)
REASON = 'required check guest failed: it said "no"\\'
RECORD = Record(
    entries=(
        Entry(AT, Happened.INSTALLED, B, Version("2.0.0"), written=5_000_000_000, took=12.5),
        Entry(Seconds(AT + 60), Happened.FELL_BACK, B, Version("2.0.0"), text=REASON),
    )
)
HEALTH = HealthState(
    AT,
    A,
    False,
    Stand.CHECKED,
    "why",
    (
        CheckResult("units", True, Checked.FAILED, "smartd.service failed", 0.25),
        CheckResult("units", True, Checked.PASSED),
        CheckResult("fan", False, Checked.WARNED),
        CheckResult("disk", True, Checked.PASSED),
        CheckResult("disk", True, Checked.FAILED),
    ),
)
GUEST_STATE = GuestState(AT, 10.0, Phase.READY, "it is healthy", slot_set=A, version="9")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Series:
    """Return each series by its name and labels, as Prometheus reads them; fail where one comes twice."""
    series: Series = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in series
            series[key] = sample.value
    return series


def find(series: Series, name: str, **labels: str) -> list[dict[str, str]]:
    """Return the labels of those series of a family that are not 0 and have these labels."""
    return [
        dict(found)
        for (family, found), value in series.items()
        if family == name and value and labels.items() <= dict(found).items()
    ]


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("disk") / "guest.img", GUEST)


@pytest.fixture(scope="module")
def status(image: Path) -> StatusReport:
    with open_machine(Target(image, GUEST, A), write=False) as machine:
        return report_status(machine, str(image))


@pytest.fixture
def full(status: StatusReport) -> Facts:
    """Everything that can be known of a host."""
    return Facts("0.1.0", status, RECORD, HEALTH, GUEST_STATE, drift=False)


# --- what is told -----------------------------------------------------------------------------------


def test_a_host_tells_how_its_slot_sets_are(full: Facts) -> None:
    series = parse(render(make_families(full)))
    assert full.status
    assert find(series, "abctl_verdict") == [{"verdict": full.status.verdict}]
    assert find(series, "abctl_slot_set_role", role="booted") == [{"slot_set": "A", "role": "booted"}]
    states = {found["slot_set"]: found["state"] for found in find(series, "abctl_slot_set_state")}
    assert states == {name: full.status.slot_sets[name].state for name in SlotName}
    assert find(series, "abctl_next_boot") == [{"slot_set": "A"}]
    assert value(series, "abctl_up") == 1


def test_the_last_fallback_has_its_reason_and_the_last_install_what_it_cost(full: Facts) -> None:
    series = parse(render(make_families(full)))
    (fallback,) = find(series, "abctl_last_fallback_timestamp_seconds")
    assert fallback == {"slot_set": "B", "version": "2.0.0", "outcome": "fell_back", "reason": REASON}
    assert value(series, "abctl_last_fallback_timestamp_seconds", **fallback) == AT + 60
    assert value(series, "abctl_last_install_written_bytes") == 5_000_000_000
    assert value(series, "abctl_last_install_duration_seconds") == 12.5


def test_of_two_checks_with_one_name_the_failure_counts(full: Facts) -> None:
    series = parse(render(make_families(full)))
    assert value(series, "abctl_health_check_passed", check="units", required="true") == 0
    assert value(series, "abctl_health_check_passed", check="disk", required="true") == 0
    assert value(series, "abctl_health_check_passed", check="fan", required="false") == 0
    assert find(series, "abctl_health_stand") == [{"stand": "checked"}]
    assert find(series, "abctl_guest_phase") == [{"phase": "ready"}]


def test_what_nobody_knows_is_absent_and_not_nought() -> None:
    series = parse(render(make_families(Facts("0.1.0", None))))
    assert {name for name, _ in series} == {"abctl_build_info", "abctl_up"}
    assert value(series, "abctl_up") == 0


def test_the_number_of_series_has_a_bound_whatever_happens(full: Facts) -> None:
    checks = tuple(CheckResult(f"check-{n}", True, Checked.FAILED) for n in range(500))
    many = Record(entries=tuple(replace(RECORD.entries[n % 2], at=Seconds(AT + n)) for n in range(2000)))
    series = parse(render(make_families(replace(full, health=replace(HEALTH, results=checks), record=many))))
    assert value(series, "abctl_health_checks_left_out") == 500 - CHECKS_MAX
    assert len(series) < 200


# --- the format -------------------------------------------------------------------------------------

LABELS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), st.text(max_size=40), max_size=3
)
VALUES = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53) | st.booleans()


@given(LABELS, VALUES, st.text(max_size=40))
def test_any_label_and_number_is_read_back_by_prometheus_parser(
    labels: dict[str, str], number: float, text: str
) -> None:
    rendered = render([Family("abctl_x", f"help {text}", (Sample(number, labels),))])
    ((_, found), read) = parse(rendered).popitem()
    expected = {name: "".join(c if c.isprintable() else "?" for c in said) for name, said in labels.items()}
    assert (dict(found), read) == (expected, float(number))


def test_a_family_that_prometheus_would_refuse_is_never_made() -> None:
    one = Sample(1, {"a": "x"})
    for name, samples in (
        ("a-b", (one,)),
        ("a", (Sample(1, {"a-b": "x"}),)),
        ("a", (one, Sample(1))),
        ("a", (one, Sample(2, {"a": "x"}))),
        ("a", (Sample(1, {"a": "\n"}), Sample(1, {"a": "\t"}))),
    ):
        with pytest.raises(ValueError, match=name):
            Family(name, "help", samples)
    with pytest.raises(ValueError, match="comes twice"):
        render([Family("a", "help", (one,)), Family("a", "help", ())])


# --- the command ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_disk_s_metrics_follow_an_upgrade(tmp_path: Path, images: dict[Part, Path]) -> None:
    machine = Machine(make_image(tmp_path / "disk.img", GUEST))
    release = pack_release(tmp_path / "release", "2.0.0", images, layouts=(GUEST,))
    assert machine.upgrade(release).code == 0
    said = machine.abctl("metrics")
    assert said.code == 0
    series = parse(said.out)
    assert find(series, "abctl_slot_set_role", role="trial") == [{"slot_set": "B", "role": "trial"}]
    assert find(series, "abctl_slot_set_info", slot_set="B") == [{"slot_set": "B", "version": "2.0.0"}]
    assert value(series, "abctl_trial_attempts_left", slot_set="B") == 3
    assert value(series, "abctl_last_install_written_bytes") > 0


@pytest.mark.slow
def test_a_disk_that_cannot_be_read_is_told_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "none.img").write_bytes(bytes(4096))
    said = Machine(tmp_path / "none.img").abctl("metrics")
    assert said.code == 0
    assert value(parse(said.out), "abctl_up") == 0
    assert said.err.startswith("abctl: warning: the slot sets cannot be looked at: ")
    assert Machine(tmp_path / "none.img").abctl("metrics", "--write").code == 2


def test_health_and_guest_are_of_the_running_host_and_not_of_a_disk(image: Path) -> None:
    facts = gather_facts(Target(image, GUEST))
    assert (facts.health, facts.guest) == (None, None)


# --- the examples -----------------------------------------------------------------------------------

# What others provide: node_exporter, and PromQL's own words.
FOREIGN = {"node_textfile_mtime_seconds"}


def named_in(expression: str) -> set[str]:
    """Return the metrics that an expression of PromQL names."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return {word for word in re.findall(r"[a-z_]+", bare) if word.startswith(("abctl_", "node_"))}


def provided(full: Facts) -> set[str]:
    return {family.name for family in make_families(full)}


def alerts() -> list[str]:
    return re.findall(r"^ +expr: (.*)$", (METRICS / "alerts.yml").read_text(), re.M)


def dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads((METRICS / "dashboard.json").read_text())
    return board


def expressions() -> list[str]:
    return [*alerts(), *(target["expr"] for panel in dashboard()["panels"] for target in panel["targets"])]


def test_every_metric_that_an_example_names_is_there(full: Facts) -> None:
    named = set().union(*map(named_in, expressions()))
    assert len(named) > 10
    assert named - FOREIGN <= provided(full)


@pytest.mark.parametrize("expression", expressions())
def test_every_label_that_an_example_asks_for_has_such_a_value(full: Facts, expression: str) -> None:
    series = parse(render(make_families(full)))
    for name, selector in re.findall(r"(abctl_[a-z_]+)\{([^}]*)\}", expression):
        for label, operator, wanted in re.findall(r'([a-z_]+)(=~|=)"([^"]*)"', selector):
            values = {dict(found).get(label) for family, found in series if family == name}
            choices = set(wanted.split("|")) if operator == "=~" else {wanted}
            assert label == "instance" or choices <= values, f"{name}: {label}"


def test_every_alert_has_what_prometheus_wants() -> None:
    text = (METRICS / "alerts.yml").read_text()
    blocks = text.split("      - alert: ")[1:]
    assert len(blocks) == len(alerts()) == len({block.splitlines()[0] for block in blocks})
    for block in blocks:
        keys = re.findall(r"^ {8}([a-z]+):", block, re.M)
        assert {"expr", "labels", "annotations"} <= set(keys) <= {"expr", "for", "labels", "annotations"}
        assert re.search(r"^ {10}severity: (warning|critical)$", block, re.M)
        assert re.search(r'^ {10}summary: ".+"$', block, re.M)
    assert all(expression.count("(") == expression.count(")") for expression in expressions())


def test_the_dashboard_is_as_grafana_wants_it() -> None:
    board = dashboard()
    assert board["schemaVersion"] >= 36
    assert {"title", "uid", "templating", "time", "panels"} <= set(board)
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in {"stat", "timeseries", "table"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        assert {panel["datasource"]["uid"], *(t["datasource"]["uid"] for t in panel["targets"])} == {
            "${datasource}"
        }
    variables = {item["name"] for item in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]+)", json.dumps(board))) <= variables


def test_every_metric_is_explained(full: Facts) -> None:
    page = (METRICS.parent / "metrics.md").read_text()
    assert [name for name in provided(full) if f"| `{name}" not in page] == []
