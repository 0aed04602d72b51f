"""The published forms hold for what abctl really prints and takes, and are in step with the code."""

import copy
import json
import tomllib
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from abctl import errors
from abctl.cli.describe import describe_history, describe_rehearsal
from abctl.cli.describe_disk import describe_check
from abctl.cli.describe_evidence import describe_evidence
from abctl.cli.describe_upgrade import describe_install, describe_plan, describe_refused_plan
from abctl.cli.health_once import describe_health
from abctl.cli.report import Report
from abctl.cli.report_disk import CreateReport
from abctl.cli.report_images import ImageReport, ImagesReport
from abctl.cli.report_release import BuildReport, BuiltImage, DeltaReport, SavingReport
from abctl.core.compare import Difference, Severity
from abctl.core.events import Running
from abctl.core.evidence import Stage
from abctl.core.health import judge
from abctl.core.health_state import HealthState, Stand
from abctl.core.layout_file import parse_layout
from abctl.core.plan import make_archive_plan
from abctl.core.release import parse_manifest
from abctl.core.slot import ALL_SLOTS, Part, SlotName
from abctl.core.units import GIB, MIB, Bytes, Digest, Seconds, Version
from abctl.errors import BadLayout, BadManifest, DoesNotFit
from abctl.host.check_files import Done
from abctl.update.install import Installed
from tests import schemas, stories, trials
from tests.agent_forms import list_jobs_report
from tests.errors_page import explain, has_own_code, list_errors
from tests.explanations import list_explain_reports
from tests.firewall_reports import list_firewall_reports
from tests.generated import ROOT, find_stale
from tests.guest_reports import list_guest_reports
from tests.identity_reports import list_identity_reports
from tests.published_reports import list_published_reports
from tests.stories import host_of, status_of
from tests.test_draw import describe as describe_layout
from tests.test_report import power_on
from tests.test_signed_upgrade import make_offers

SHA256 = Digest("4f" * 32)
MANIFEST: dict[str, Any] = {
    "format": 1,
    "version": "2.0.0",
    "layouts": ["hostos"],
    "images": [
        {
            "part": part,
            "file": f"{part}.img.zst",
            "compression": "zstd",
            "download": {"size": 1234, "sha256": SHA256},
            "image": {"size": 4096, "sha256": SHA256},
        }
        for part in ("boot", "root")
    ],
}


def make_images_report(disk: str | None) -> ImagesReport:
    images = tuple(
        ImageReport(part=part, file=f"{part}.img", size=MIB, used=4096, sha256=SHA256)
        for part in (Part.BOOT, Part.ROOT)
    )
    return ImagesReport(
        folder="1.0.0",
        version="1.0.0",
        kernel="6.1.0-10-amd64",
        kernel_arguments="",
        images=images,
        release="1.0.0/release",
        sha256=SHA256,
        disk=disk,
        took=1.5,
    )


@cache
def read_schema(name: str) -> dict[str, Any]:
    """Return the published schema."""
    schema: dict[str, Any] = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())
    return schema


@cache
def read_validator(name: str) -> Draft202012Validator:
    """Return a validator for the published schema."""
    Draft202012Validator.check_schema(read_schema(name))
    return Draft202012Validator(read_schema(name), format_checker=Draft202012Validator.FORMAT_CHECKER)


# --- in step ----------------------------------------------------------------------------------------


def test_the_schemas_and_the_errors_page_are_in_step_with_the_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert schemas.main(["--check"]) == 0, capsys.readouterr().err


def test_a_file_that_is_out_of_step_is_named() -> None:
    files = schemas.make_files()
    page = ROOT / "docs" / "errors.md"
    gone = ROOT / "schemas" / "gone.schema.json"
    assert find_stale(files | {page: "", gone: "{}"}) == [page, gone]
    status = ROOT / "schemas" / "status.schema.json"
    without = {path: text for path, text in files.items() if path != status}
    assert find_stale(without, (ROOT / "schemas").glob("*")) == [status]


@pytest.mark.parametrize("name", [*schemas.INPUTS, *schemas.OUTPUTS, *schemas.LINES])
def test_each_schema_says_what_it_is(name: str) -> None:
    schema = read_schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:abctl:schema:{name}"
    assert schema["title"].startswith("abctl ")
    assert schema["description"]


def test_no_object_of_a_report_may_hold_what_its_schema_does_not_name() -> None:
    for name in (*schemas.OUTPUTS, *schemas.LINES):
        schema = read_schema(name)
        for part in (schema, *schema.get("$defs", {}).values()):
            if part.get("type") == "object":
                assert part["additionalProperties"] is False
                assert part["required"] == list(part["properties"])


# --- what abctl prints ------------------------------------------------------------------------------


def _reports() -> Iterator[tuple[str, Report]]:
    for story in stories.STORIES:
        world = story()
        yield "status", status_of(world)
        yield "status", status_of(world, "host.img")
        yield "history", describe_history(host_of(world))
    tried = trials.armed(SlotName.A)
    for _ in range(3):
        tried.boot_trial(Stage.CHECKS, [trials.DISK_FULL], trials.PANIC)
    tried.fall_back()
    yield "status", tried.status([trials.DISK_FULL])
    yield "evidence", describe_evidence(tried.kept, None, disk=None)
    yield from list_guest_reports(status_of(stories.STORIES[0]()))
    done = [
        Done(judge("net", "exit code 1", required=True), ("no link",)),
        Done(judge("fan", None, required=False)),
    ]
    state = HealthState(
        Seconds(1_800_000_000), SlotName.B, True, Stand.WATCHING, "healthy for 3 s of 30 s", ()
    )
    yield "health", describe_health(done, Running.all_of(SlotName.B), SlotName.B, state)
    for disk in (None, "host.img"):
        yield "images", make_images_report(disk)
    world = stories.armed()
    yield "rehearse", describe_rehearsal(host_of(world).env, [power_on(world.state.files)], disk="host.img")
    sizes = dict.fromkeys(ALL_SLOTS, Bytes(GIB))
    plan = make_archive_plan(host_of(stories.fresh()), sizes, "update-img.tar.zst", SHA256, Bytes(488 * MIB))
    yield "plan", describe_plan(plan, source="./update-img.tar.zst")
    yield "plan", describe_refused_plan(DoesNotFit("root.img is too large"), source="./2.0.0")
    installed = Installed(
        target=SlotName.B,
        version=Version("2.0.0"),
        sha256=SHA256,
        downloaded=1,
        written=2,
        took=2.5,
        steps={},
    )
    yield (
        "install",
        describe_install(installed, host_of(world), world.state.files, source="./2.0.0", rebooting=True),
    )
    yield "disk", describe_layout("hostos")
    yield "disk", describe_layout("guestos", booted=None)
    yield "check", describe_check("host.img", "hostos", (Difference("grub", "it is gone"),))
    yield "check", describe_check("host.img", "hostos", (Difference("disk", "a word", Severity.REMARK),))
    yield (
        "create",
        CreateReport(
            disk="host.img", layout="hostos", size=GIB, used=MIB, version="1.0.0", sha256=SHA256, took=1.5
        ),
    )
    delta = DeltaReport(version="1.9.0", file=None, size=MIB)
    image = BuiltImage(
        part=Part.BOOT, file="boot.img.zst", size=GIB, download=MIB, index=1, blocks=2, deltas=(delta,)
    )
    yield (
        "build",
        BuildReport(
            folder="2.0.0",
            version="2.0.0",
            layouts=("hostos",),
            sha256=SHA256,
            images=(image,),
            download=MIB,
            savings=(SavingReport(version="1.9.0", download=1),),
            size=2 * MIB,
            took=1.5,
        ),
    )
    yield from list_published_reports()
    yield from list_explain_reports()
    yield from list_firewall_reports()
    yield from list_identity_reports()
    yield "agent-jobs", list_jobs_report()
    yield "offers", make_offers()
    yield "offers", make_offers(disk="host.img", clock=None, recalled=None, upgrade=None, version=None)


def test_every_report_is_as_its_schema_says() -> None:
    seen = set()
    for name, report in _reports():
        read_validator(name).validate(json.loads(report.to_json()))
        seen.add(name)
    assert seen == set(schemas.OUTPUTS)


def _spoil(value: Any) -> Iterator[Any]:
    """Yield a JSON value with one thing wrong, for each field at every depth."""
    if isinstance(value, dict):
        yield {**value, "unknown": 1}
        for key, item in value.items():
            yield {name: other for name, other in value.items() if name != key}
            yield {**value, key: [1.5j.imag]}
            yield from ({**value, key: spoiled} for spoiled in _spoil(item))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from ([*value[:index], spoiled, *value[index + 1 :]] for spoiled in _spoil(item))


@pytest.mark.slow
def test_a_schema_refuses_every_report_with_a_field_missing_added_or_of_another_type() -> None:
    tried = {}
    for name, report in _reports():
        if name in tried:
            continue
        validator = read_validator(name)
        spoiled = list(_spoil(json.loads(report.to_json())))
        assert not [value for value in spoiled if validator.is_valid(value)]
        tried[name] = len(spoiled)
    assert tried.keys() == schemas.OUTPUTS.keys()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("trial", "attempts_left"), 4),
        (("trial", "attempts_left"), -1),
        (("verdict",), "fine"),
        (("slot_sets", "A", "state"), "active"),
        (("slot_sets", "A", "roles"), ["current"]),
        (("next_boot", "slot_set"), "C"),
        (("last_upgrade", "when"), "2026-11-22 20:11"),
        (("boot_env", "generation"), -1),
    ],
)
def test_the_status_schema_knows_the_field_s_words(path: tuple[str, ...], value: object) -> None:
    status = json.loads(status_of(stories.on_trial()).to_json())
    place = status
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not read_validator("status").is_valid(status)


# --- what abctl takes -------------------------------------------------------------------------------


def test_the_shipped_layouts_are_as_their_schema_says() -> None:
    validator = read_validator("layout")
    for path in (ROOT / "layout").glob("*.toml"):
        validator.validate(tomllib.loads(path.read_text()))


def _is_taken(parse: Callable[[], object]) -> bool:
    try:
        parse()
    except (BadManifest, BadLayout):
        return False
    return True


def test_a_layout_that_its_schema_refuses_is_refused_by_abctl() -> None:
    validator = read_validator("layout")
    values = tomllib.loads((ROOT / "layout" / "guestos.toml").read_text())
    for spoiled in _spoil(values):
        if not validator.is_valid(spoiled):
            assert not _is_taken(partial(parse_layout, spoiled, "here"))


def test_a_good_manifest_is_as_its_schema_says() -> None:
    read_validator("manifest").validate(MANIFEST)
    assert parse_manifest(json.dumps(MANIFEST).encode()).version == "2.0.0"


json_values = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)
places = st.sampled_from(
    [
        ("format",),
        ("version",),
        ("layouts",),
        ("images",),
        ("images", 0, "part"),
        ("images", 0, "file"),
        ("images", 0, "compression"),
        ("images", 1, "download"),
        ("images", 1, "download", "size"),
        ("images", 1, "image", "sha256"),
        ("images", 1, "more"),
    ]
)


@given(places, json_values)
def test_the_manifest_schema_and_abctl_agree_on_every_single_field(
    path: tuple[str | int, ...], value: object
) -> None:
    manifest = copy.deepcopy(MANIFEST)
    place: Any = manifest
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    allowed = read_validator("manifest").is_valid(manifest)
    taken = _is_taken(lambda: parse_manifest(json.dumps(manifest).encode()))
    # What a schema cannot say, abctl still refuses: which images go together.
    assert allowed or not taken
    if taken != allowed:
        assert path[-1] in ("part", "compression", "size")


# --- errors -----------------------------------------------------------------------------------------


def test_each_error_has_an_exit_code_of_its_own_a_meaning_and_a_remedy() -> None:
    kinds = [kind for kind in list_errors() if has_own_code(kind)]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 2, 3} & set(codes)
    for kind in kinds:
        meaning, remedy = explain(kind)
        assert meaning.endswith("."), kind
        assert remedy.endswith((".", "?")), kind


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    tree = [line.split("+-- ")[1] for line in (errors.__doc__ or "").splitlines() if "+-- " in line]
    drawn = {words[0]: words[1] for words in (line.split() for line in tree)}
    for kind in list_errors()[1:]:
        assert kind.__name__ in drawn
        if has_own_code(kind):
            assert drawn[kind.__name__] == str(kind.exit_code)
    assert len(drawn) == len(list_errors()) - 1


def test_what_several_errors_have_in_common_is_never_raised_itself() -> None:
    branches = {kind.__name__ for kind in list_errors() if not has_own_code(kind)}
    for path in (ROOT / "abctl").rglob("*.py"):
        text = path.read_text()
        assert not [name for name in branches if f"raise {name}(" in text], path
