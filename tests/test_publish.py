"""Publishing: what python-tuf's own client reads, which releases stay on offer, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tuf.api.exceptions import ExpiredMetadataError

from abctl.build import commit
from abctl.build.catalogue import make_archive
from abctl.build.roles import Role, sign
from abctl.cli import cli
from abctl.cli.failure import explain
from abctl.core.offer import choose_offered, find_stuck
from abctl.core.rollout_spec import format_rollout, parse_duration, parse_rollout, parse_time
from abctl.core.terms import Policy, Terms, parse_policy, parse_terms
from abctl.core.units import Seconds, Version
from abctl.errors import (
    AbctlError,
    BadKey,
    DigestMismatch,
    NotConsidered,
    NotSigned,
    SourceNotFound,
    WouldOverwrite,
)
from tests.repositories import (
    DAY,
    NOON,
    Key,
    Keys,
    Publisher,
    client,
    make_repository,
    make_tiny_release,
)

pytestmark = pytest.mark.slow

DAY_TEXT = "2027-01-15"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    error: str

    @property
    def report(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str | Path, now: int = NOON, **environment: str) -> Ran:
    """Run abctl release as the command line does."""
    environment = {"SOURCE_DATE_EPOCH": str(now), "NO_COLOR": "1", **environment}
    result = CliRunner().invoke(cli, ["release", *map(str, arguments)], env=environment)
    if result.exception is None or isinstance(result.exception, SystemExit):
        return Ran(result.exit_code, result.stdout, result.stderr)
    sentence, code = explain(result.exception)
    return Ran(code, result.stdout, sentence)


@dataclass(frozen=True)
class Shop:
    """A repository and its key files."""

    repo: Publisher
    key: Path
    online: Path

    @property
    def signing(self) -> tuple[str | Path, ...]:
        return "--key", self.key, "--online-key", self.online

    def run(self, command: str, *arguments: str | Path) -> Ran:
        return run(command, self.repo.folder, *arguments, *self.signing, now=self.repo.clock())


@pytest.fixture
def repo(tmp_path: Path) -> Publisher:
    return make_repository(tmp_path / "repo", ["1.0.0", "2.0.0"])


@pytest.fixture
def shop(repo: Publisher, tmp_path: Path) -> Shop:
    keys = tmp_path / "keys"
    return Shop(repo, repo.keys.targets[0].write(keys), repo.keys.online[0].write(keys))


# --- what a client reads ----------------------------------------------------------------------------


def test_a_client_reads_terms_and_policy_and_the_manifest_is_what_was_signed(
    repo: Publisher, tmp_path: Path
) -> None:
    repo.publish("3.0.0", needs="2.0.0", rollout="1%,10%@1d,100%@3d", floor="1.0.0")
    reader = client(repo, tmp_path / "reader")
    terms = parse_terms(reader.terms("3.0.0"), "3.0.0/manifest.json")
    assert terms == Terms(
        version=Version("3.0.0"),
        layouts=("hostos-small",),
        published=Seconds(NOON),
        download=3072,
        sizes=terms.sizes,
        needs=Version("2.0.0"),
        rollout=terms.rollout,
    )
    manifest = json.loads((repo.folder / "targets/3.0.0/manifest.json").read_text())
    assert {item["part"]: item["image"]["size"] for item in manifest["images"]} == (
        terms.sizes and terms.sizes.model_dump()
    )
    assert terms.rollout is not None
    assert [terms.rollout.share_at(NOON + days * DAY) for days in (0, 0.5, 1, 3)] == (
        pytest.approx([0.01, 0.055, 0.1, 1])
    )
    published = repo.state.published
    assert published is not None
    policy = parse_policy(published.targets.signed.unrecognized_fields)
    assert policy == Policy(floor=Version("1.0.0"))
    assert {document.issued for document in (*published.documents, *repo.state.roots)} == {NOON}


def test_files_of_a_release_are_beside_its_manifest_as_they_were_built(
    repo: Publisher, tmp_path: Path
) -> None:
    made = make_tiny_release(tmp_path / "made", "2.0.0")
    placed = repo.folder / "targets" / "2.0.0"
    assert {path.name: path.read_bytes() for path in placed.iterdir()} == {
        path.name: path.read_bytes() for path in made.iterdir()
    }


def test_a_release_that_is_not_on_offer_is_found_by_name_and_costs_others_nothing(
    repo: Publisher, tmp_path: Path
) -> None:
    repo.publish("3.0.0", keep=1)
    reader = client(repo, tmp_path / "reader")
    assert reader.versions() == ["3.0.0"]
    assert not [name for name, _ in reader.fetcher.fetched if "archive" in name]
    found = reader.terms("1.0.0")
    assert found is not None
    assert found["version"] == "1.0.0"
    assert reader.terms("9.0.0") is None


@pytest.mark.slow
def test_what_a_host_fetches_to_look_is_the_same_with_50_releases_as_with_10(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", [f"1.{number}.0" for number in range(10)])
    before = client(repo, tmp_path / "before")
    before.refresh()
    for number in range(10, 50):
        repo.publish(f"1.{number}.0")
    after = client(repo, tmp_path / "after")
    assert len(after.versions()) == 8
    assert abs(after.fetcher.bytes - before.fetcher.bytes) < 40
    again = client(repo, tmp_path / "after")
    repo.renew()
    again.refresh()
    assert again.fetcher.bytes < 600  # a timestamp


def test_the_same_keys_clock_and_releases_make_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        repo = make_repository(tmp_path / name / "repo", ["1.0.0", "2.0.0"])
        repo.publish("3.0.0", rollout="1%,100%@3d", keep=1)
        repo.clock.tick(days=2)
        repo.renew()
        repo.rotate("online")
        found.append({path.name: path.read_bytes() for path in repo.metadata.iterdir()})
    assert found[0] == found[1]
    assert len(found[0]) > 10


def test_metadata_that_nobody_renews_is_refused_and_taken_again_when_it_is_renewed(
    repo: Publisher, tmp_path: Path
) -> None:
    reader = client(repo, tmp_path / "reader")
    reader.refresh()
    repo.expire("timestamp")
    with pytest.raises(ExpiredMetadataError):
        reader.refresh()
    repo.renew()
    reader.refresh()
    repo.expire("snapshot")
    repo.renew()
    reader.refresh()
    repo.expire("targets")
    repo.renew()
    with pytest.raises(ExpiredMetadataError):
        reader.refresh()
    repo.renew(targets=True)
    reader.refresh()


def test_renewal_signs_the_snapshot_only_when_half_of_its_life_is_over(repo: Publisher) -> None:
    before = repo.state.published
    repo.clock.tick(days=6)
    repo.renew()
    between = repo.state.published
    repo.clock.tick(days=2)
    repo.renew()
    after = repo.state.published
    assert before
    assert between
    assert after
    assert between.snapshot.data == before.snapshot.data
    assert after.snapshot.version == before.snapshot.version + 1
    assert after.targets.data == before.targets.data
    assert [item.timestamp.version for item in (before, between, after)] == [2, 3, 4]


# --- which releases stay on offer -------------------------------------------------------------------


def terms_of(version: str, needs: str | None = None, *layouts: str) -> Terms:
    return Terms(
        version=Version(version),
        layouts=layouts or ("hostos",),
        published=Seconds(0),
        download=0,
        needs=Version(needs) if needs else None,
    )


@pytest.mark.parametrize(
    ("every", "keep", "offered"),
    [
        ([("1.0",), ("1.10",), ("1.9",), ("1.2",)], 2, "1.10 1.9"),
        ([("1.0",), ("2.0-rc1",), ("2.0",)], 1, "2.0"),
        # The stone, and the stone to the stone; of several the newest.
        ([("1.0",), ("1.5",), ("2.0", "1.5"), ("3.0", "2.0"), ("4.0", "3.0")], 1, "1.5 2.0 3.0 4.0"),
        ([("1.0",), ("1.1",), ("1.2",), ("2.0", "1.1"), ("3.0", "1.1")], 1, "1.2 3.0"),
        # One that needs as much itself leads nowhere.
        ([("1.0",), ("2.0", "1.0"), ("3.0", "1.0")], 1, "1.0 3.0"),
        # What it needs was never here.
        ([("2.0", "1.0")], 1, "2.0"),
        ([("1.0", None, "guestos"), ("2.0",), ("3.0",), ("4.0",)], 2, "1.0 3.0 4.0"),
        ([("1.0", None, "guestos"), ("1.1",), ("2.0", "1.0")], 1, "1.0 1.1 2.0"),
    ],
)
def test_the_newest_stay_on_offer_and_so_does_what_leads_to_them(
    every: list[tuple[Any, ...]], keep: int, offered: str
) -> None:
    assert sorted(choose_offered([terms_of(*item) for item in every], keep)) == offered.split()


def test_releases_that_no_other_leads_to_are_known() -> None:
    every = [terms_of("1.0"), terms_of("2.0", "1.0"), terms_of("3.0", "2.5")]
    assert [terms.version for terms in find_stuck(every)] == ["3.0"]


def test_how_many_stay_is_remembered_and_what_leads_to_them_stays(repo: Publisher) -> None:
    repo.publish("3.0.0", needs="2.0.0", keep=1)
    assert repo.versions == {"targets": ["3.0.0", "2.0.0"], "archive": ["1.0.0"]}
    repo.publish("4.0.0")
    assert repo.versions == {"targets": ["4.0.0"], "archive": ["3.0.0", "2.0.0", "1.0.0"]}


# --- rollouts, floor, recalls -----------------------------------------------------------------------


def test_a_pause_stops_a_rollout_and_afterwards_it_goes_on_as_if_no_time_had_passed(repo: Publisher) -> None:
    repo.publish("3.0.0", rollout="0%,100%@10d")

    def share() -> float:
        rollout = repo.state.catalogue.find(Version("3.0.0")).terms.rollout
        assert rollout is not None
        return rollout.share_at(repo.clock())

    repo.clock.tick(days=2)
    assert share() == pytest.approx(0.2)
    repo.pause("3.0.0")
    repo.clock.tick(days=5)
    assert not repo.pause("3.0.0").is_changed
    assert share() == pytest.approx(0.2)
    repo.resume("3.0.0")
    assert share() == pytest.approx(0.2)
    repo.clock.tick(days=1)
    assert share() == pytest.approx(0.3)
    repo.abort("3.0.0", "it is slow")
    assert share() == 0
    with pytest.raises(AbctlError, match=r"the rollout of 3\.0\.0 was aborted: give it a new one"):
        repo.resume("3.0.0")


def test_a_recalled_release_is_off_offer_and_its_recall_says_why(repo: Publisher, tmp_path: Path) -> None:
    repo.publish("3.0.0", keep=1)
    for version in ("1.0.0", "3.0.0"):
        repo.revoke(version, f"{version} loses network")
    reader = client(repo, tmp_path / "reader")
    assert reader.versions() == ["2.0.0"]
    terms = reader.terms("3.0.0")
    assert terms
    assert terms["version"] == "3.0.0"  # for an admin who overrides the recall
    published = repo.state.published
    assert published is not None
    recall = parse_policy(published.targets.signed.unrecognized_fields).recall_of(Version("3.0.0"))
    assert recall is not None
    assert (recall.reason, recall.at) == ("3.0.0 loses network", NOON)
    with pytest.raises(NotConsidered, match="was recalled"):
        repo.publish("3.0.0")
    repo.undo_revoke("3.0.0")
    assert reader.versions() == ["3.0.0"]


def test_recalls_are_bounded_and_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("abctl.build.catalogue.RECALLS_MAX", 2)
    repo = make_repository(tmp_path / "repo", ["1.0", "2.0", "3.0", "4.0"])
    for version in ("3.0", "1.0", "2.0"):
        repo.clock.tick(seconds=1)
        repo.revoke(version, "no good")
    assert [recall.version for recall in repo.state.catalogue.policy.recalled] == ["1.0", "2.0"]
    assert repo.versions == {"targets": ["4.0"], "archive": ["2.0", "1.0"]}  # 3.0 never comes back by itself


def test_the_floor_can_be_set_and_taken_away_but_not_above_all_releases(repo: Publisher) -> None:
    repo.set_floor("2.0.0")
    assert repo.state.catalogue.policy.floor == "2.0.0"
    assert not repo.set_floor("2.0.0").is_changed
    with pytest.raises(SourceNotFound, match=r"no release is 3\.0\.0 or newer"):
        repo.set_floor("3.0.0")
    repo.set_floor(None)
    assert repo.state.catalogue.policy.floor is None


# --- what is refused --------------------------------------------------------------------------------


def test_the_same_release_again_changes_nothing_not_even_its_rollout(repo: Publisher) -> None:
    repo.publish("3.0.0", rollout="1%,100%@3d")
    before = {path: path.read_bytes() for path in repo.metadata.iterdir()}
    repo.clock.tick(days=1)
    assert not repo.publish("3.0.0", rollout="1%,100%@3d").is_changed
    assert {path: path.read_bytes() for path in repo.metadata.iterdir()} == before
    assert repo.publish("3.0.0", rollout="5%,100%@3d").is_changed
    rollout = repo.state.catalogue.find(Version("3.0.0")).terms.rollout
    assert rollout is not None
    assert rollout.start == repo.clock()


def test_a_version_stands_for_one_release_for_ever(repo: Publisher, tmp_path: Path) -> None:
    other = make_tiny_release(tmp_path / "other", "2.0.0", layouts=("hostos",))
    with pytest.raises(WouldOverwrite, match=r"2\.0\.0 was published with other bytes"):
        repo.publish("2.0.0", release=other)
    with pytest.raises(WouldOverwrite, match=r"2\.0 counts as the same version as 2\.0\.0"):
        repo.publish("2.0")
    repo.revoke("2.0.0", "no good")
    with pytest.raises(WouldOverwrite, match=r"2\.0 counts as the same version as 2\.0\.0"):
        repo.publish("2.0")
    repo.undo_revoke("2.0.0")
    with pytest.raises(WouldOverwrite, match=r"2\.0\.0 was published with other bytes"):
        repo.publish("2.0.0", release=other)


@pytest.mark.parametrize("spoil", ["shorter", "changed", "gone", "a folder"])
def test_a_release_that_is_not_what_its_manifest_says_is_refused_before_anything_is_written(
    spoil: str, repo: Publisher, tmp_path: Path
) -> None:
    made = make_tiny_release(tmp_path / "made", "3.0.0")
    path = made / "root.img"
    data = path.read_bytes()
    path.unlink()
    if spoil == "a folder":
        path.mkdir()
    elif spoil != "gone":
        path.write_bytes(data[:-1] if spoil == "shorter" else b"x" + data[1:])
    before = sorted(repo.folder.rglob("*"))
    with pytest.raises((DigestMismatch, SourceNotFound), match=r"root\.img"):
        repo.publish("3.0.0", release=made)
    assert sorted(repo.folder.rglob("*")) == before


def test_a_key_of_another_role_and_too_few_keys_are_refused(tmp_path: Path) -> None:
    keys = Keys(targets=[Key("targets-1"), Key("targets-2")])
    repo = make_repository(tmp_path / "repo", ["1.0.0"], keys=keys, targets_threshold=2)
    targets, online = keys.targets, keys.timestamp
    keys.targets = targets[:1]
    with pytest.raises(NotSigned, match=r"targets needs 2 of the keys .*, and 1 was given"):
        repo.publish("2.0.0")
    keys.targets, keys.timestamp = targets, targets
    with pytest.raises(BadKey, match="is none of the online keys"):
        repo.publish("2.0.0")
    keys.timestamp = online
    assert not (repo.folder / "targets/2.0.0").exists()
    repo.publish("2.0.0")


def test_a_release_cannot_need_itself_or_a_newer_one(repo: Publisher) -> None:
    for needs in ("3.0.0", "3.1.0"):
        with pytest.raises(NotConsidered, match=r"3\.0\.0 cannot need"):
            repo.publish("3.0.0", needs=needs)


# --- the command line -------------------------------------------------------------------------------


def test_the_commands_publish_stage_pause_recall_and_show(shop: Shop, tmp_path: Path) -> None:
    made = make_tiny_release(tmp_path / "made", "3.0.0")
    done = shop.run(
        "publish", made, "--rollout", "1%,10%@1d,100%@3d", "--needs", "2.0.0", "--keep", "1", "--json"
    )
    assert done.code == 0, done.error
    assert done.report["offered"] == ["3.0.0", "2.0.0"]
    assert done.report["archived"] == 1
    again = shop.run("publish", made, "--rollout", "1%,10%@1d,100%@3d", "--needs", "2.0.0")
    assert again.out.startswith("UNCHANGED")
    shop.repo.clock.tick(days=1)
    for options in (["--pause"], ["--resume"], ["--rollout", "50%,100%@2d"], ["--abort", "it is slow"]):
        assert shop.run("rollout", "3.0.0", *options).code == 0
    assert shop.run("floor", "2.0.0").code == 0
    assert shop.run("floor", "none", "--json").report["floor"] is None
    assert shop.run("revoke", "2.0.0", "--reason", "loses network").code == 0
    assert shop.run("revoke", "2.0.0", "--undo").code == 0
    renewed = run("renew", shop.repo.folder, "--online-key", shop.online, "--json", now=shop.repo.clock())
    assert renewed.report["changed"]
    for command in ("list", "check"):
        assert run(command, shop.repo.folder, now=shop.repo.clock()).code == 0
    shown = run("show", shop.repo.folder, "3.0.0", "--json", now=shop.repo.clock()).report
    assert shown["release"]["rollout"]["aborted"] == "it is slow"
    assert [file["file"] for file in shown["files"]] == ["boot.img", "root.img"]


def test_the_list_is_a_table_that_fits_80_columns(shop: Shop) -> None:
    shop.repo.publish("3.0.0", needs="2.0.0", rollout="1%,100%@3d", keep=1)
    shop.repo.revoke("1.0.0", "loses network after three days when the bond has only one link")
    listed = run("list", shop.repo.folder)
    assert listed.out == (
        "Version  published   download  needs  who may take it\n"
        "3.0.0    2027-01-15     3 KiB  2.0.0  1 %; 100 % on 2027-01-18\n"
        "2.0.0    2027-01-15     3 KiB  -      all\n"
        "1.0.0    2027-01-15     3 KiB  -      nobody: it was recalled\n"
        "\n"
        "Recalled   1.0.0 on 2027-01-15: loses network after three days when the bond has\n"
        "           only one link\n"
        "Good       root until 2028-01-15, targets until 2027-07-14, archive until\n"
        "           2027-07-14, snapshot until 2027-01-29, timestamp until 2027-01-18\n"
    )
    assert all(len(line) <= 80 for line in listed.out.splitlines())


def test_renewal_warns_of_what_no_timer_renews_and_waits_until_it_is_due(shop: Shop) -> None:
    command = ("renew", shop.repo.folder, "--online-key", shop.online, "--json")
    assert not run(*command, "--if-within", "2d", now=NOON + 3600).report["changed"]
    assert run(*command, "--if-within", "3d", now=NOON + 3600).report["changed"]
    late = run(*command, now=NOON + 170 * DAY)
    assert late.code == 0
    assert "targets expires in 10 days" in late.report["warnings"][0]
    too_late = run(*command, now=NOON + 400 * DAY)
    assert too_late.code == 0
    assert "root expired on 2028-01-15" in too_late.report["warnings"][0]


def test_check_finds_what_a_host_would_refuse(shop: Shop) -> None:
    folder = shop.repo.folder
    assert run("check", folder, now=NOON + 4 * DAY).code == 36
    file = folder / "targets/2.0.0/root.img"
    file.unlink()
    file.write_bytes(bytes(2048))
    found = run("check", folder)
    assert found.code == 32
    assert "targets/2.0.0/root.img has SHA-256" in found.error
    manifest = folder / "targets/2.0.0/manifest.json"
    make_tiny_release(folder.parent / "other", "2.0.0", layouts=("hostos",))
    shutil.rmtree(manifest.parent)
    shutil.copytree(folder.parent / "other", manifest.parent)
    assert "has a manifest with SHA-256" in run("check", folder).error


def spoil_targets(repo: Publisher) -> None:
    path = repo.metadata / "2.targets.json"
    path.write_bytes(path.read_bytes().replace(b'"download":3072', b'"download":3071'))


def half_a_surrogate(repo: Publisher) -> None:
    path = repo.metadata / "timestamp.json"
    path.write_bytes(path.read_bytes().replace(b'"issued"', b'"\\ud800"'))


def control_characters(repo: Publisher) -> None:
    path = repo.metadata / "timestamp.json"
    path.write_bytes(path.read_bytes().replace(b'"_type":"timestamp"', b'"_type":"\\u001b[2J"'))


def sign_by_nobody(repo: Publisher) -> None:
    path = repo.metadata / "timestamp.json"
    path.write_bytes(path.read_bytes().replace(b'"sig":"', b'"sig":"00'))


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (
            lambda repo: (repo.metadata / "timestamp.json").write_bytes(b"{"),
            34,
            "timestamp.json is not timestamp",
        ),
        (lambda repo: (repo.metadata / "timestamp.json").write_bytes(b"[" * 9999), 34, "is not timestamp"),
        (lambda repo: (repo.metadata / "timestamp.json").write_bytes(repo.root), 34, "holds root metadata"),
        (half_a_surrogate, 34, "timestamp.json is not timestamp"),
        (control_characters, 34, "unrecognized metadata type"),
        (sign_by_nobody, 35, "timestamp.json is signed by 0 of the 1 timestamp keys"),
        (spoil_targets, 34, "2.targets.json is not the file that was signed for"),
        (lambda repo: (repo.metadata / "2.targets.json").unlink(), 40, "2.targets.json cannot be read"),
        (lambda repo: (repo.metadata / "1.root.json").unlink(), 40, "has no signed root yet"),
        (lambda repo: (repo.metadata / "2.root.json").write_bytes(repo.root), 34, "holds root version 1"),
        (lambda repo: shutil.rmtree(repo.folder), 40, "has no signed root yet"),
        (
            lambda repo: (repo.folder / "pending/root.json").write_bytes(b"x"),
            34,
            "pending/root.json is not root",
        ),
    ],
)
def test_a_damaged_repository_is_one_sentence(spoil: Any, code: int, words: str, shop: Shop) -> None:
    spoil(shop.repo)
    found = run("list", shop.repo.folder)
    assert (found.code, found.out) == (code, "")
    assert words in found.error
    assert found.error.isprintable()
    assert shop.run("revoke", "2.0.0", "--reason", "x").code in (code, 40)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("publish", "{repo}", "{none}"), 40, "is no release directory"),
        (("show", "{repo}", "9.0.0"), 40, "9.0.0: the repository has no such release"),
        (("revoke", "{repo}", "9.0.0", "--reason", "x"), 40, "has no such release"),
        (("revoke", "{repo}", "2.0.0"), 2, "say either --reason or --undo"),
        (("revoke", "{repo}", "2.0.0", "--undo"), 29, "2.0.0 is not recalled"),
        (("revoke", "{repo}", "2.0.0", "--reason", " "), 2, "give a reason"),
        (("rollout", "{repo}", "2.0.0", "--pause"), 29, "2.0.0 has no rollout"),
        (("rollout", "{repo}", "2.0.0"), 2, "say one of --pause"),
        (("rollout", "{repo}", "2.0.0", "--pause", "--start", "now"), 2, "--start goes with --rollout"),
        (("rollout", "{repo}", "2.0.0", "--rollout", "110%"), 2, "not a wave"),
        (("rollout", "{repo}", "2.0.0", "--rollout", "10%,5%@1d"), 2, "each wave must come after"),
        (("rollout", "{repo}", "2.0.0", "--rollout", "10%", "--start", "noon"), 2, "not a time"),
        (("floor", "{repo}", "../x"), 2, "not a version"),
        (("floor", "{none}", "1.0.0"), 40, "is no repository"),
    ],
)
def test_a_wrong_command_is_one_sentence(
    arguments: tuple[str, ...], code: int, words: str, shop: Shop
) -> None:
    places = {"{repo}": str(shop.repo.folder), "{none}": str(shop.repo.folder.parent / "none")}
    signing = () if arguments[0] == "show" else shop.signing
    ran = run(*(places.get(item, item) for item in arguments), *signing)
    assert ran.code == code, ran.error
    assert words in ran.error


def test_two_publishers_at_once_do_not_mix(shop: Shop) -> None:
    with shop.repo.repository.lock():
        busy = shop.run("revoke", "2.0.0", "--reason", "x")
    assert busy.code == 15
    assert "another abctl changes" in busy.error


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_tiny_release(tmp_path / "made", "3.0.0")

    def full(path: Path, _: bytes) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = sorted(shop.repo.metadata.iterdir())
    monkeypatch.setattr("abctl.build.durable.write_bytes", full)
    ran = shop.run("publish", made)
    assert ran.code == 50
    assert "No space left on device" in ran.error
    assert sorted(shop.repo.metadata.iterdir()) == before
    monkeypatch.undo()
    assert shop.run("publish", made).code == 0


def run_as_nobody(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False, user=65534, group=65534, extra_groups=(), cwd="/",
        env={"SOURCE_DATE_EPOCH": str(NOON)},
    )  # fmt: skip


def test_an_account_that_may_only_read_can_look_and_not_publish() -> None:
    if os.geteuid() != 0 or run_as_nobody("import abctl").returncode:
        pytest.skip("only root can become another user, who has to get at the code")
    main = "import sys; from abctl.cli import main; main()"
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        repo = make_repository(folder / "repo", ["1.0.0"])
        made = make_tiny_release(folder / "made", "3.0.0")
        shop = Shop(
            repo, repo.keys.targets[0].write(folder / "keys"), repo.keys.online[0].write(folder / "keys")
        )
        listed = run_as_nobody(main, "release", "list", repo.folder)
        assert listed.returncode == 0, listed.stderr
        refused = run_as_nobody(main, "release", "publish", repo.folder, made, *shop.signing)
        assert (refused.returncode, refused.stdout) == (50, "")
        assert "cannot be written: Permission denied" in refused.stderr
        repo.metadata.chmod(0o700)
        hidden = run_as_nobody(main, "release", "list", repo.folder)
        assert (hidden.returncode, "cannot be read" in hidden.stderr) == (40, True)


def test_an_image_that_is_a_symbolic_link_is_published_as_what_it_leads_to(
    repo: Publisher, tmp_path: Path
) -> None:
    made = make_tiny_release(tmp_path / "made", "3.0.0")
    (made / "root.img").rename(tmp_path / "elsewhere")
    (made / "root.img").symlink_to("../elsewhere")
    repo.publish("3.0.0", release=made)
    placed = repo.folder / "targets/3.0.0/root.img"
    assert not placed.is_symlink()
    assert placed.read_bytes() == (tmp_path / "elsewhere").read_bytes()


def test_a_clock_that_is_behind_is_told(shop: Shop) -> None:
    found = run("list", shop.repo.folder, "--json", now=NOON - DAY).report["warnings"]
    assert found == [
        "this machine's clock says 2027-01-14 08:00 UTC, but something was signed at 2027-01-15 08:00 UTC"
    ]


def test_a_build_does_not_wait_for_the_update_framework_to_load() -> None:
    code = (
        "import sys; from abctl.cli import cli\n"
        "try: cli.main(['release', 'build', '--help'], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('tuf', 'securesystemslib')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    "command", ["publish", "renew", "rollout", "floor", "revoke", "list", "show", "check"]
)
def test_each_command_has_help_with_an_example(command: str) -> None:
    helped = run(command, "--help")
    assert helped.code == 0
    assert f"abctl release {command} " in helped.out.partition("Example")[2]


# --- what a publisher writes ------------------------------------------------------------------------


def test_rollouts_durations_and_times_are_read_as_they_are_written() -> None:
    for text in ("1%,10%@1d,100%@3d", "0%,0.5%@90m,100%@36h", "100%", "33.3333%@2w"):
        waves = parse_rollout(text)
        assert parse_rollout(format_rollout(waves)) == waves
    assert format_rollout(parse_rollout("1%,10%@24h,100%@3d")) == "1%,10%@1d,100%@3d"
    assert [parse_duration(text) for text in ("90s", "5m", "12h", "3d", "2w")] == [
        90,
        300,
        43200,
        3 * DAY,
        14 * DAY,
    ]
    assert parse_time(f"{DAY_TEXT}T09:00:00+01:00", Seconds(0)) == NOON
    assert parse_time("now", Seconds(5)) == 5


@pytest.mark.parametrize(
    "text",
    ["", "x", "1", "1%@", "1%@1y", "101%", "1%,2%", "2%@1d,1%@2d", "1%@1d,2%@1h", "-1%", "1%@9999999w"],
)
def test_what_is_no_rollout_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|longer|each wave"):
        parse_rollout(text)


@pytest.mark.parametrize(
    "text", ["", "noon", "2027-01-15T08:00:00", "1960-01-01T00:00:00Z", "9999-12-31T00:00:00Z"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        parse_time(text, Seconds(0))


def test_what_another_key_signed_is_not_signed_for_again(shop: Shop) -> None:
    """Whoever may write the folder but has no key cannot have the publisher sign what he put there."""
    state = shop.repo.state
    stranger = replace(shop.repo.keys, targets=[Key("stranger")])
    work = commit.Work(shop.repo.repository, state, stranger.signers, shop.repo.clock())
    forged = commit._Signing(work, state.root).run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit, "_known_keys", lambda *_: {Key("stranger").id, Key("online-1").id})
        published = forged(state.catalogue.with_policy(floor=Version("2.0.0")))
    assert published is not None
    commit._write(work, state.root, published)
    ran = shop.run("revoke", "2.0.0", "--reason", "x")
    assert ran.code == 35
    assert "targets.json is signed by 0 of the 1 targets keys" in ran.error


def test_who_has_the_online_key_alone_cannot_have_the_publisher_sign_another_archive(shop: Shop) -> None:
    state, now = shop.repo.state, shop.repo.clock()
    published = state.published
    assert published is not None
    online = [key.signer for key in shop.repo.keys.online]
    made = make_archive(state.catalogue, now)
    made.version, made.expires = 2, published.archive.signed.expires
    archive = sign(Role.ARCHIVE, made, [Key("stranger").signer])
    snapshot = deepcopy(published.snapshot.signed)
    snapshot.version, snapshot.meta["archive.json"] = 3, archive.meta
    lists = sign(Role.SNAPSHOT, snapshot, online)
    timestamp = deepcopy(published.timestamp.signed)
    timestamp.version, timestamp.snapshot_meta = 3, lists.meta
    for document in (archive, lists, sign(Role.TIMESTAMP, timestamp, online)):
        (shop.repo.metadata / document.name).write_bytes(document.data)
    ran = shop.run("revoke", "2.0.0", "--reason", "x")
    assert (ran.code, "2.archive.json is signed by 0 of the 1 archive keys" in ran.error) == (35, True)
