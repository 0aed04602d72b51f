"""Upgrades from a signed repository: what is taken and what is not, and what an admin may do about it."""

import datetime
import hashlib
import json
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from abctl.cli.render_offers import render_offers
from abctl.cli.report_offers import ObjectionReport, OfferReport, OffersReport, RoleReport
from abctl.cli.style import Style
from abctl.core.consider import Reason
from abctl.core.offer import KEEP
from abctl.core.slot import Part, SlotName
from abctl.errors import SourceProblem
from abctl.update.install import Installed, install
from tests.disks import GUEST
from tests.hostile_repository import (
    Attacker,
    Document,
    Host,
    keys_of,
    make_guest_repository,
    make_host,
    run_here,
    serve,
)
from tests.releases import make_release
from tests.repositories import Publisher, make_tiny_release
from tests.test_cli import Said, assert_fails
from tests.virtual_host import VirtualHost

pytestmark = pytest.mark.slow

NOT_CONSIDERED, NOTHING_TO_DO, VERSION_REFUSED, UNTRUSTED, BAD_CONFIG, NO_REPOSITORY = 61, 29, 22, 27, 19, 62


@pytest.fixture
def repo(tmp_path: Path) -> Publisher:
    return make_guest_repository(tmp_path / "repo", "1.5.0", "2.0.0")


@pytest.fixture
def host(repo: Publisher, tmp_path: Path) -> Host:
    return make_host(tmp_path / "host", repo.root, [f"file://{repo.folder}/"], repo.clock)


def digest_of(release: Path) -> str:
    return hashlib.sha256((release / "manifest.json").read_bytes()).hexdigest()


def upgrade(host: Host, *arguments: str) -> None:
    """Upgrade, boot it and keep it."""
    said = host.abctl("upgrade", *arguments)
    assert said.code == 0, said.err
    host.confirm()


def takes(host: Host, *options: str) -> str | None:
    said = host.abctl("check", "--json", *options)
    assert said.code == 0, said.err
    version: str | None = said.json("offers")["upgrade"]
    return version


def assert_refused(host: Host, said: Said, before: str, code: int, *words: str) -> None:
    assert_fails(said, code, *words)
    assert host.body() == before


def objections(host: Host, version: str) -> dict[str, str]:
    """Return what a check says against a release: reasons with their sentences."""
    report = host.abctl("check", "--json").json("offers")
    (release,) = [item for item in report["releases"] if item["version"] == version]
    return {item["reason"]: item["sentence"] for item in release["objections"]}


# --- what is taken ----------------------------------------------------------------------------------


def test_without_a_word_the_newest_that_fits_is_installed(host: Host, repo: Publisher) -> None:
    said = host.abctl("upgrade", "--json").json("install")
    assert (said["version"], said["slot_set"]) == ("2.0.0", "B")
    image = (repo.folder / "targets/2.0.0/root.img").read_bytes()
    assert host.slot(SlotName.B, Part.ROOT)[: len(image)] == image
    assert host.warnings() == ""


def test_a_version_that_is_named_is_installed(host: Host) -> None:
    upgrade(host, "1.5.0")
    assert host.version() == "1.5.0"


def test_a_host_that_has_the_newest_has_nothing_to_do(host: Host) -> None:
    upgrade(host)
    before = host.body()
    words = ("this host has 2.0.0, the newest on offer: nothing to do",)
    assert_refused(host, host.abctl("upgrade"), before, NOTHING_TO_DO, *words)
    assert takes(host) is None
    said = host.abctl("upgrade", "2.0.0")
    assert_refused(host, said, before, NOTHING_TO_DO, "slot set B has it already")


def test_a_version_that_nobody_offers_is_named(host: Host) -> None:
    before = host.body()
    assert_refused(host, host.abctl("upgrade", "7.0.0"), before, 40, "no release 7.0.0", "abctl check")


def test_another_repository_is_named_on_the_command_line(host: Host, repo: Publisher, tmp_path: Path) -> None:
    stick = Attacker(repo, tmp_path / "usb stick")
    host.configure("")
    assert_fails(host.abctl("check"), NO_REPOSITORY, "--repository")
    url = f"file://{tmp_path}/usb%20stick"
    assert takes(host, "--repository", url) == "2.0.0"
    assert host.abctl("upgrade", "--repository", url).code == 0
    with serve(stick.folder) as server:
        assert takes(host, "--repository", server.url, "--repository", url) == "2.0.0"


def test_a_stick_helps_out_where_the_server_has_only_half_of_the_release(
    host: Host, repo: Publisher, tmp_path: Path
) -> None:
    stick, half = Attacker(repo, tmp_path / "stick"), Attacker(repo, tmp_path / "half")
    (half.folder / "targets/2.0.0/root.img").unlink()
    with serve(half.folder) as server:
        said = host.abctl("upgrade", "--repository", server.url, "--repository", stick.file_url)
    assert said.code == 0, said.err
    assert "going on with the next mirror" in said.err
    image = (repo.folder / "targets/2.0.0/root.img").read_bytes()
    assert host.slot(SlotName.B, Part.ROOT)[: len(image)] == image


def test_a_server_of_whose_files_nothing_comes_is_passed_over(
    host: Host, repo: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was wrong with it: the process that fetched may have ended before it asked the other one."""
    tried: list[object] = []

    def fail_once(*arguments: object) -> Installed:
        tried.append(arguments)
        if len(tried) == 1:
            raise SourceProblem("the fetching process ended")
        return install(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("abctl.cli.upgrade.install", fail_once)
    with serve(repo.folder) as one, serve(repo.folder) as other:
        said = host.abctl("upgrade", "--repository", one.url, "--repository", other.url)
    assert said.code == 0, said.err
    assert "the fetching process ended; going on with the next mirror" in said.err
    image = (repo.folder / "targets/2.0.0/root.img").read_bytes()
    assert (len(tried), host.slot(SlotName.B, Part.ROOT)[: len(image)]) == (2, image)


def test_a_stick_that_lacks_the_files_is_passed_over_for_one_that_has_them(
    repo: Publisher, tmp_path: Path
) -> None:
    empty, full = Attacker(repo, tmp_path / "empty"), Attacker(repo, tmp_path / "full")
    (empty.folder / "targets/2.0.0/root.img").unlink()
    host = make_host(tmp_path / "host", repo.root, [empty.file_url, full.file_url], repo.clock)
    said = host.abctl("upgrade")
    assert said.code == 0, said.err
    assert "root.img" in said.err
    assert "going on with the next mirror" in said.err


def test_a_host_without_a_root_trusts_nobody(host: Host) -> None:
    (host.config / "root.json").unlink()
    before = host.fingerprint()
    said = host.abctl("check")
    assert_fails(said, NO_REPOSITORY, str(host.config / "root.json"), "whose signatures count")
    assert host.fingerprint() == before


# --- dry runs and looking ---------------------------------------------------------------------------


def test_a_dry_run_writes_nothing_at_all(host: Host) -> None:
    before = host.fingerprint()
    plan = host.abctl("upgrade", "--dry-run", "--json").json("plan")
    assert (plan["version"], plan["refused"]) == ("2.0.0", None)
    said = host.abctl("upgrade", "7.0.0", "--dry-run")
    assert said.code == 40
    assert host.fingerprint() == before
    assert host.trust.host_id == ""


def test_a_check_writes_only_what_it_remembers_and_only_where_it_is_news(host: Host) -> None:
    before = host.body()
    takes(host)
    once = host.fingerprint()
    assert host.body() == before
    host.clock.tick(seconds=600)
    takes(host)
    assert host.fingerprint() == once
    host.clock.tick(seconds=3600)
    takes(host)
    assert host.fingerprint() != once
    assert host.trust.checked_at == host.clock.now


# --- stepping stones, floor, layouts ----------------------------------------------------------------


def test_a_host_that_is_far_behind_goes_from_stone_to_stone(host: Host, repo: Publisher) -> None:
    repo.publish("3.0.0", needs="2.0.0")
    repo.publish("4.0.0", needs="3.0.0")
    assert objections(host, "4.0.0") == {
        "stepping-stone": "it needs 3.0.0 or newer first, and this host has 1.0.0"
    }
    assert "2.0.0 leads there" in objections(host, "3.0.0")["stepping-stone"]
    went = []
    for _ in range(3):
        upgrade(host)
        went.append(host.version())
    assert went == ["2.0.0", "3.0.0", "4.0.0"]
    assert takes(host) is None


def test_a_host_is_not_sent_to_what_is_older_than_the_floor(host: Host, repo: Publisher) -> None:
    repo.set_floor("2.0.0")
    before = host.body()
    words = ("1.5.0 is not considered because it is older than 2.0.0, the oldest", "--override floor")
    assert_refused(host, host.abctl("upgrade", "1.5.0"), before, NOT_CONSIDERED, *words)
    assert takes(host) == "2.0.0"


def test_a_release_for_other_layouts_is_passed_over(host: Host, repo: Publisher, tmp_path: Path) -> None:
    repo.publish("3.0.0", release=make_tiny_release(tmp_path / "3", "3.0.0", layouts=("hostos",)))
    repo.publish("2.1.0", release=make_tiny_release(tmp_path / "2", "2.1.0", layouts=("hostos", GUEST)))
    assert objections(host, "3.0.0") == {"layout": f"it is for layout hostos, and this disk has {GUEST}"}
    assert takes(host) == "2.1.0"


# --- waves ------------------------------------------------------------------------------------------


def place(host: Host, value: float) -> None:
    text = (host.config / "config.toml").read_text()
    host.configure(f"{text.partition('[rollout]')[0]}[rollout]\nplace = {value}\n")


def later(repo: Publisher, days: float) -> None:
    repo.clock.tick(days=days)
    repo.renew()


def test_a_release_comes_to_a_host_in_its_turn(host: Host, repo: Publisher) -> None:
    place(host, 0.5)
    repo.publish("3.0.0", rollout="1%,100%@2d")
    assert takes(host) == "2.0.0"
    said = objections(host, "3.0.0")["wave"]
    assert re.fullmatch(r"this host's turn comes at 2027-01-16 07:\d\d UTC \(its place is 50.0%\)", said)
    later(repo, 0.9)
    assert takes(host) == "2.0.0"
    later(repo, 0.1)
    assert takes(host) == "3.0.0"
    place(host, 0.999)
    assert takes(host) == "2.0.0"
    later(repo, 1)
    assert takes(host) == "3.0.0"


def test_a_rollout_begins_when_it_is_to_begin(host: Host, repo: Publisher) -> None:
    place(host, 0.0)
    repo.publish("3.0.0", rollout="100%", start=repo.clock() + 86_400)
    assert takes(host) == "2.0.0"
    later(repo, 1)
    assert takes(host) == "3.0.0"


def test_a_rollout_that_is_paused_goes_on_where_it_was(host: Host, repo: Publisher) -> None:
    place(host, 0.5)
    repo.publish("3.0.0", rollout="1%,100%@2d")
    later(repo, 0.5)
    repo.pause("3.0.0")
    later(repo, 5)
    assert takes(host) == "2.0.0"
    assert objections(host, "3.0.0")["wave"] == "its rollout is paused (this host's place is 50.0%)"
    repo.resume("3.0.0")
    assert takes(host) == "2.0.0"
    later(repo, 0.4)
    assert takes(host) == "2.0.0"
    later(repo, 0.2)
    assert takes(host) == "3.0.0"


def test_a_pause_leaves_those_that_were_let_in_already(host: Host, repo: Publisher) -> None:
    place(host, 0.1)
    repo.publish("3.0.0", rollout="1%,100%@2d")
    later(repo, 0.5)
    repo.pause("3.0.0")
    assert takes(host) == "3.0.0"


def test_a_rollout_that_was_aborted_reaches_nobody_any_more(host: Host, repo: Publisher) -> None:
    place(host, 0.0)
    repo.publish("3.0.0", rollout="1%,100%@2d")
    assert takes(host) == "3.0.0"
    repo.abort("3.0.0", "it eats disks")
    later(repo, 1)
    assert takes(host) == "2.0.0"
    before = host.body()
    words = ("its rollout was aborted: it eats disks", "--override wave")
    assert_refused(host, host.abctl("upgrade", "3.0.0"), before, NOT_CONSIDERED, *words)


def test_a_host_has_one_place_for_each_release_and_keeps_it(host: Host, repo: Publisher) -> None:
    repo.publish("3.0.0", rollout="1%,99%@2d", start=repo.clock() + 1000)
    said = {objections(host, "3.0.0")["wave"] for _ in range(3)}
    assert len(said) == 1
    host_id = host.trust.host_id
    assert re.fullmatch("[0-9a-f]{32}", host_id)
    text = (host.config / "config.toml").read_text()
    places = set()
    for name in ("rack1", "rack2", host_id):
        host.configure(f'{text}[rollout]\nhost_id = "{name}"\n')
        places.add(objections(host, "3.0.0")["wave"])
    assert len(places) == 3
    assert said < places


# --- overrides --------------------------------------------------------------------------------------


def offer_recalled(repo: Publisher, folder: Path) -> Attacker:
    """Return a copy in which 2.0.0 is recalled and on offer all the same."""
    copy = Attacker(repo, folder)

    def recall(signed: Document) -> None:
        signed["abctl"]["recalled"] = [{"version": "2.0.0", "reason": "it hums", "at": 1}]

    copy.mislead("targets", recall, keys_of(repo))
    return copy


def make_downgrade(host: Host, repo: Publisher) -> str:
    upgrade(host)
    return "1.5.0"


def make_floor(host: Host, repo: Publisher) -> str:
    repo.set_floor("2.0.0")
    return "1.5.0"


def make_stepping_stone(host: Host, repo: Publisher) -> str:
    repo.publish("3.0.0", needs="2.0.0")
    return "3.0.0"


def make_layout(host: Host, repo: Publisher) -> str:
    other = make_tiny_release(repo.folder.parent / "other", "3.0.0", layouts=("hostos",))
    repo.publish("3.0.0", release=other)
    return "3.0.0"


def make_wave(host: Host, repo: Publisher) -> str:
    repo.publish("3.0.0", rollout="0%,100%@2d")
    return "3.0.0"


def make_recalled(host: Host, repo: Publisher) -> str:
    copy = offer_recalled(repo, repo.folder.parent / "copy")
    host.configure(f'[repository]\nmirrors = ["{copy.file_url}"]\n')
    return "2.0.0"


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("downgrade", make_downgrade),
        ("floor", make_floor),
        ("stepping-stone", make_stepping_stone),
        ("layout", make_layout),
        ("wave", make_wave),
        ("recalled", make_recalled),
    ],
)
def test_an_admin_overrides_each_reason_by_its_name_and_that_is_not_forgotten(
    host: Host, repo: Publisher, reason: str, make: Callable[[Host, Publisher], str]
) -> None:
    version = make(host, repo)
    before, target = host.body(), host.booted.other
    said = host.abctl("upgrade", version)
    assert_refused(host, said, before, NOT_CONSIDERED, f"{version} is not considered", f"--override {reason}")
    other = "floor" if reason != "floor" else "wave"
    said = host.abctl("upgrade", version, "--override", other)
    assert_refused(host, said, before, NOT_CONSIDERED, f"--override {reason}")
    planned = host.abctl("upgrade", version, "--override", reason, "--dry-run")
    assert (planned.code, host.body()) == (0, before), planned.err
    done = host.abctl("upgrade", version, "--override", reason)
    assert done.code == 0, done.err
    sentence = f"{version} was installed in slot set {target}; an admin overrode: {reason}"
    assert host.history()[-1] == sentence
    assert f"{version} in slot set {target}: an admin overrode: {reason}" in host.warnings()
    assert f"an admin overrode: {reason}" in " ".join(host.abctl("status").out.split())
    host.confirm()
    assert f"an admin overrode: {reason}" in host.warnings()


def test_what_is_not_in_the_way_is_not_said_to_be_overridden(host: Host) -> None:
    assert host.abctl("upgrade", "--override", "wave").code == 0
    assert host.history()[-1] == "2.0.0 was installed in slot set B"
    assert host.warnings() == ""


def test_the_same_release_is_written_into_the_other_slot_set_once_more_where_an_admin_says_so(
    host: Host, repo: Publisher
) -> None:
    upgrade(host)
    said, before = host.abctl("upgrade", "2.0.0"), host.body()
    assert_refused(host, said, before, NOTHING_TO_DO, "slot set B has it already", "--override same")
    assert host.abctl("upgrade", "--override", "same").code == 0
    assert host.history()[-1] == "2.0.0 was installed in slot set A"
    assert host.warnings() == ""
    host.confirm()
    repo.publish("2.0.1")
    assert host.abctl("upgrade", "--override", "same").code == 0
    assert host.history()[-1] == "2.0.1 was installed in slot set B"


@pytest.mark.parametrize("reason", ["refused", "everything"])
def test_nothing_else_can_be_overridden(host: Host, reason: str) -> None:
    said = host.abctl("upgrade", "--override", reason)
    assert said.code == 2
    assert "downgrade, floor, stepping-stone, layout, wave, recalled, same" in said.err


# --- recalled and refused ---------------------------------------------------------------------------


def test_a_recalled_release_is_told_of_by_check_and_status_and_not_taken(host: Host, repo: Publisher) -> None:
    upgrade(host)
    repo.publish("1.9.0")
    repo.revoke("2.0.0", "it eats disks")
    report = host.abctl("check", "--json").json("offers")
    assert report["recalled"] == "it eats disks"
    assert "2.0.0, which this host has, was recalled: it eats disks" in " ".join(
        host.abctl("check").out.split()
    )
    assert "2.0.0 in slot set B was recalled by its publisher: it eats disks" in host.warnings()
    before = host.body()
    said = host.abctl("upgrade", "2.0.0")
    assert_refused(host, said, before, NOT_CONSIDERED, "2.0.0", "recalled: it eats disks")
    repo.publish("2.0.1")
    upgrade(host)
    assert "was recalled by its publisher" in host.warnings()  # it is in the other slot set still
    repo.publish("2.0.2")
    upgrade(host)
    assert host.warnings() == ""


def test_a_release_that_is_recalled_before_a_host_took_it_is_not_offered(host: Host, repo: Publisher) -> None:
    repo.revoke("2.0.0", "it eats disks")
    assert takes(host) == "1.5.0"
    before = host.body()
    said = host.abctl("upgrade", "2.0.0")
    words = ("2.0.0 is not considered because it was recalled: it eats disks", "--override recalled")
    assert_refused(host, said, before, NOT_CONSIDERED, *words)
    assert host.abctl("upgrade", "2.0.0", "--override", "recalled").code == 0


def test_a_release_that_was_recalled_and_is_gone_is_told_of_all_the_same(
    host: Host, repo: Publisher, tmp_path: Path
) -> None:
    copy = Attacker(repo, tmp_path / "copy")

    def recall(signed: Document) -> None:
        signed["abctl"]["recalled"] = [{"version": "2.0.0", "reason": "it hums", "at": 1}]
        del signed["targets"]["2.0.0/manifest.json"]

    copy.mislead("targets", recall, keys_of(repo))
    said = host.abctl("upgrade", "2.0.0", "--repository", copy.file_url)
    assert_fails(said, NOT_CONSIDERED, "2.0.0 is not on offer any more", "recalled: it hums")


def test_a_recall_that_is_taken_back_is_forgotten(host: Host, repo: Publisher) -> None:
    upgrade(host)
    repo.revoke("2.0.0", "it eats disks")
    takes(host)
    assert "recalled" in host.warnings()
    repo.undo_revoke("2.0.0")
    takes(host)
    assert host.warnings() == ""


@pytest.fixture(scope="module")
def bootable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk whose slot set A GRUB can boot."""
    folder = tmp_path_factory.mktemp("bootable")
    first = make_release(folder / "1.0.0", "1.0.0", layout=GUEST)
    options = ("--layout", GUEST, "--release", str(first.directory), "--sha256", first.manifest_sha256)
    said = run_here(["disk", "create", str(folder / "host.img"), *options])
    assert said.code == 0, said.err
    return folder / "host.img"


def test_a_release_that_fell_back_is_not_taken_again_until_an_admin_allows_it(
    repo: Publisher, bootable: Path, tmp_path: Path
) -> None:
    url = f"file://{repo.folder}/"
    host = make_host(tmp_path / "host", repo.root, [url], repo.clock, image=bootable)
    assert host.abctl("upgrade").code == 0
    # Its kernel is none that GRUB could load.
    boot = VirtualHost(host.image).power_on()
    assert boot.slot_set is SlotName.A
    assert takes(host) == "1.5.0"
    said = host.abctl("upgrade", "2.0.0")
    assert_fails(said, VERSION_REFUSED, "2.0.0 is not considered", "abctl allow 2.0.0")
    assert "--override" not in said.err
    assert host.abctl("allow", "2.0.0").code == 0
    assert takes(host) == "2.0.0"


# --- what nobody signed -----------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["", '[unsigned]\nallow = "never"\n'])
def test_what_nobody_signed_is_not_installed_where_the_configuration_does_not_say_so(
    host: Host, repo: Publisher, config: str
) -> None:
    host.configure(config)
    release = repo.folder / "targets/2.0.0"
    before = host.fingerprint()
    said = host.abctl("upgrade", release, "--sha256", digest_of(release))
    assert_fails(said, UNTRUSTED, "installs only what is signed", 'allow = "admin"', "config.toml")
    assert host.fingerprint() == before


@pytest.mark.parametrize("allow", ["admin", "anyone"])
def test_what_an_admin_vouches_for_is_installed_where_he_may_and_that_is_not_forgotten(
    host: Host, repo: Publisher, allow: str
) -> None:
    host.configure(f'[unsigned]\nallow = "{allow}"\n')
    release = repo.folder / "targets/2.0.0"
    assert host.abctl("upgrade", release, "--sha256", digest_of(release)).code == 0
    said = "not signed: an admin gave its SHA-256"
    assert host.history()[-1] == f"2.0.0 was installed in slot set B; {said}"
    assert f"2.0.0 in slot set B: {said}" in host.warnings()


def test_a_disk_that_runs_nowhere_needs_no_configuration_for_that(host: Host, repo: Publisher) -> None:
    release = repo.folder / "targets/2.0.0"
    disk = ["--disk", str(host.image), "--booted", "A"]
    said = run_here([*disk, "upgrade", str(release), "--sha256", digest_of(release)])
    assert said.code == 0, said.err
    assert "not signed" in host.warnings()


def test_what_nobody_vouches_for_is_not_installed_at_all(host: Host, repo: Publisher) -> None:
    host.configure('[unsigned]\nallow = "anyone"\n')
    before = host.fingerprint()
    for source in (str(repo.folder / "targets/2.0.0"), "http://127.0.0.1:9/2.0.0/", "update-img.tar.zst/"):
        assert_fails(host.abctl("upgrade", source), UNTRUSTED, "--sha256", "abctl upgrade [VERSION]")
    assert host.fingerprint() == before


@pytest.mark.parametrize("options", [(), ("x", "--repository", "file:///y"), ("x", "--override", "wave")])
def test_options_that_do_not_go_together_are_a_wrong_command_line(
    host: Host, options: tuple[str, ...]
) -> None:
    assert host.abctl("upgrade", *options, "--sha256", "0" * 64).code == 2


def test_mirrors_of_the_signed_repository_are_not_named_like_those_of_a_source(host: Host) -> None:
    said = host.abctl("upgrade", "2.0.0", "--mirror", "http://mirror.example/")
    assert (said.code, "--repository" in said.err) == (2, True)


# --- configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[repository", ("is not TOML", "table declaration")),
        ("[repository]\nmirrors = 3\n", ("repository.mirrors",)),
        ('[repository]\nmirrors = "https://a.example/"\n', ("repository.mirrors",)),
        ('[repository]\nmirrors = ["ftp://a.example/"]\n', ("repository.mirrors.0", "ftp://a.example/")),
        ('[repository]\nmirrors = ["https:///x"]\n', ("repository.mirrors.0",)),
        ('[repository]\nmirrors = ["https://a.example/?x=1"]\n', ("repository.mirrors.0", "query")),
        ('[repository]\nmirrors = ["https://a\\u001b.example/"]\n', ("repository.mirrors.0",)),
        ('[repository]\nmirrors = ["http://a.example:port/"]\n', ("repository.mirrors.0",)),
        ('[repository]\nmirrors = ["http://[::1/"]\n', ("repository.mirrors.0",)),
        (
            '[repository]\nmirrors = ["file:///a", "https://a.example/"]\n',
            ("either all files",),
        ),
        ("[repository]\nmirrors = [" + '"https://a.example/",' * 17 + "]\n", ("repository.mirrors",)),
        ("[repository]\nmirror = []\n", ("repository.mirror",)),
        ("[repository]\nca_file = 1\n", ("repository.ca_file",)),
        ('[unsigned]\nallow = "always"\n', ("unsigned.allow",)),
        ("[unsigned]\nallow = true\n", ("unsigned.allow",)),
        ("[rollout]\nplace = 1.5\n", ("rollout.place",)),
        ('[rollout]\nplace = "first"\n', ("rollout.place",)),
        ("[rollout]\nplace = nan\n", ("rollout.place",)),
        ('[rollout]\nhost_id = ""\n', ("rollout.host_id",)),
        ("[other]\n", ("other",)),
        ("unsigned = 1\n[rollout]\nplace = 2\n", ("unsigned", "rollout.place")),
        ("#" * 300_000, ("more than", "bytes")),
    ],
)
def test_a_configuration_that_is_wrong_is_told_in_one_sentence_that_names_the_field(
    host: Host, text: str, words: tuple[str, ...]
) -> None:
    host.configure(text)
    before = host.fingerprint()
    for command in ("check", "upgrade"):
        said = host.abctl(command)
        assert_fails(said, BAD_CONFIG, str(host.config / "config.toml"), *words)
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert said.err[:-1].isprintable()
    assert host.fingerprint() == before


def test_files_of_the_configuration_that_are_wrong_are_named(host: Host) -> None:
    good = (host.config / "config.toml").read_text()
    (host.config / "config.toml").write_bytes(b"\xff\xfe")
    assert_fails(host.abctl("check"), BAD_CONFIG, "config.toml is not UTF-8")
    host.configure(f'{good}ca_file = "gone.pem"\n')
    assert_fails(host.abctl("check"), BAD_CONFIG, "gone.pem does not exist", "ca_file")
    host.configure(good)
    (host.config / "root.json").write_bytes(b" " * 100_000)
    assert_fails(host.abctl("check"), BAD_CONFIG, "root.json has more than 65536 bytes")
    (host.config / "root.json").unlink()
    (host.config / "root.json").mkdir()
    assert_fails(host.abctl("check"), BAD_CONFIG, "root.json cannot be read")
    host.config = host.config / "elsewhere"
    assert_fails(host.abctl("check"), BAD_CONFIG, "elsewhere", "does not exist")


# --- many releases ----------------------------------------------------------------------------------


def test_an_older_release_is_found_in_the_archive_by_its_version(host: Host, repo: Publisher) -> None:
    repo.publish("3.0.0", keep=1)
    assert repo.versions == {"targets": ["3.0.0"], "archive": ["2.0.0", "1.5.0"]}
    report = host.abctl("check", "--json").json("offers")
    assert [item["version"] for item in report["releases"]] == ["3.0.0"]
    upgrade(host, "1.5.0")
    assert host.version() == "1.5.0"
    assert host.trust.metadata.keys() == {"timestamp", "snapshot", "targets"}


def test_the_fiftieth_release_costs_a_host_no_more_than_the_tenth(tmp_path: Path) -> None:
    repo = make_guest_repository(tmp_path / "repo")
    host = make_host(tmp_path / "host", repo.root, [], repo.clock)
    costs: dict[int, tuple[list[str], int]] = {}
    first: dict[int, int] = {}
    with serve(repo.folder) as server:
        host.configure(f'[repository]\nmirrors = ["{server.url}"]\n')
        for number in range(1, 51):
            repo.publish(f"{number + 1}.0.0")
            if number % 10:
                continue
            server.asked.clear()
            before = server.sent
            assert takes(host) == f"{number + 1}.0.0"
            names = [re.sub(r"\d+", "N", path) for path in server.asked]
            costs[number] = (names, server.sent - before)
            assert takes(host) == f"{number + 1}.0.0"
            host.forget()
            before = server.sent
            takes(host)
            first[number] = server.sent - before
        server.asked.clear()
        takes(host)
        assert [path.rpartition("/")[2] for path in server.asked] == ["2.root.json", "timestamp.json"]
    assert len({tuple(names) for names, _ in costs.values()}) == 1
    for sizes in ([size for _, size in costs.values()], list(first.values())):
        assert max(sizes) <= 1.1 * min(sizes)
        assert max(sizes) < 16 * 1024
    assert len(repo.versions["targets"]) == KEEP
    assert len(repo.versions["archive"]) == 50 - KEEP


# --- TLS --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def trust_authority(host: Host, url: str, authority: trustme.CA) -> None:
    authority.cert_pem.write_to_path(str(host.config / "ca.pem"))
    host.configure(f'[repository]\nmirrors = ["{url}"]\nca_file = "ca.pem"\n')


def test_a_server_whose_ca_the_configuration_names_is_asked_over_tls(
    host: Host, repo: Publisher, authority: trustme.CA
) -> None:
    with serve(repo.folder, context_of(authority.issue_cert("127.0.0.1"))) as server:
        trust_authority(host, server.url, authority)
        assert takes(host) == "2.0.0"
        assert host.abctl("upgrade").code == 0
    assert len(server.asked) > 4


def certificates(authority: trustme.CA) -> Iterator[trustme.LeafCert]:
    """Yield one that is expired, one of another name, and one of a CA that nobody trusts."""
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    yield authority.issue_cert("127.0.0.1", not_before=past, not_after=past.replace(year=2021))
    yield authority.issue_cert("elsewhere.example")
    yield trustme.CA().issue_cert("127.0.0.1")


@pytest.mark.parametrize("number", range(3))
def test_a_certificate_that_does_not_hold_is_a_clear_failure_of_the_source(
    host: Host, repo: Publisher, authority: trustme.CA, number: int
) -> None:
    certificate = list(certificates(authority))[number]
    before = host.body()
    with serve(repo.folder, context_of(certificate)) as server:
        trust_authority(host, server.url, authority)
        said = host.abctl("check")
        assert_fails(said, 41, server.place, "certificate")
        assert said.err.count("\n") == 1
        assert server.asked == []
    assert host.body() == before
    assert host.trust.metadata == {}


def test_the_ca_of_the_command_line_counts_more_than_that_of_the_configuration(
    host: Host, repo: Publisher, authority: trustme.CA, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with serve(repo.folder, context_of(authority.issue_cert("127.0.0.1"))) as server:
        trust_authority(host, server.url, authority)
        assert_fails(host.abctl("check", "--ca-file", str(other)), 41, "certificate")
        assert takes(host) == "2.0.0"


# --- as text ----------------------------------------------------------------------------------------


def make_offers(**fields: object) -> OffersReport:
    """Return a report with all that there can be in it."""
    objection = ObjectionReport(
        reason=Reason.WAVE,
        sentence="this host's turn comes at 2027-01-16 07:38 UTC (its place is 50.0%)",
        overridden=False,
    )
    overridden = ObjectionReport(reason=Reason.FLOOR, sentence="it is older than 9.0.0", overridden=True)
    same = ObjectionReport(reason=Reason.SAME, sentence="slot set A has it already", overridden=False)
    offer = {"published": "2027-01-15T08:00:00Z", "download": 488 * 2**20, "layouts": ("hostos",)}
    values: dict[str, object] = {
        "disk": None,
        "repository": "releases.example",
        "version": "1.0.0",
        "now": "2027-01-15T08:00:00Z",
        "clock": "this host's clock says 1970-01-01 00:00 UTC, but metadata was signed at 2027-01-15 08:00 "
        "UTC: the clock is behind; set it, or let it be set by NTP",
        "upgrade": "2.0.0",
        "sentence": "this host has 1.0.0, and 'abctl upgrade' takes 2.0.0",
        "releases": (
            OfferReport(version="3.0.0", taken=False, objections=(objection,), **offer),  # type: ignore[arg-type]
            OfferReport(version="2.0.0", taken=True, objections=(overridden,), **offer),  # type: ignore[arg-type]
            OfferReport(version="1.0.0", taken=False, objections=(same,), **offer),  # type: ignore[arg-type]
        ),
        "unreadable": ("4.0.0/manifest.json",),
        "recalled": "it eats disks",
        "metadata": tuple(
            RoleReport(role=role, version=3, expires="2027-01-18T08:00:00Z")
            for role in ("root", "timestamp", "snapshot", "targets")
        ),
        "setbacks": ("timestamp.json from mirror.example (role timestamp) expired at 2027-01-01 00:00 UTC",),
    }
    return OffersReport(**{**values, **fields})  # type: ignore[arg-type]


def test_what_is_on_offer_fits_eighty_columns_without_colour_and_says_the_outcome_first() -> None:
    lines = render_offers(make_offers(), Style(colour=False, width=80)).splitlines()
    assert lines[0] == "UPGRADE    This host has 1.0.0, and 'abctl upgrade' takes 2.0.0."
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "\x1b" in line or line != line.rstrip()]
    labels = [line.split("  ")[0].split(" 4.0.0")[0] for line in lines if line[:1].strip()]
    assert labels == ["UPGRADE", "Recalled", "Clock", "Mirror", "On offer", "Unreadable", "Signed"]
    text = "\n".join(lines)
    assert "> 2.0.0  488 MiB at most, published 2027-01-15" in text
    assert "overridden: it is older than 9.0.0" in text
    assert "not considered because this host's turn comes at" in text


def test_colour_adds_nothing_but_colour() -> None:
    report = make_offers(upgrade=None, sentence="nothing fits")
    plain, painted = (render_offers(report, Style(colour=colour, width=80)) for colour in (False, True))
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain
    assert plain.startswith("NOTHING    Nothing fits.")


def test_the_report_of_a_check_is_as_its_schema_says(host: Host, repo: Publisher) -> None:
    repo.publish("3.0.0", needs="2.0.0")
    report = host.abctl("check", "--json").json("offers")
    assert report["disk"] == str(host.image)
    assert [item["version"] for item in report["releases"]] == ["3.0.0", "2.0.0", "1.5.0"]
    assert json.loads(make_offers().to_json())["setbacks"]
