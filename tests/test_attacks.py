"""The attacks that The Update Framework names, against the real commands: each ends in one sentence.

``check`` goes to a server and ``upgrade`` to a folder, so each attack is tried over both.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abctl.core.bootenv import SlotState, read_boot_env
from abctl.core.slot import Part, SlotName
from abctl.core.trust_state import TrustState
from abctl.core.units import Version
from abctl.errors import (
    AbctlError,
    BadManifest,
    BadMetadata,
    DigestMismatch,
    Expired,
    NotSigned,
    Replayed,
    SourceNotFound,
    TransferStalled,
    TransferTooLong,
)
from abctl.host.disk import DiskGrubPartition, open_disk
from abctl.host.source import FolderSource
from abctl.update import trust
from abctl.update.trust import TrustClient
from tests.disks import GUEST, flip
from tests.hostile_repository import (
    ROLES,
    Attacker,
    Document,
    Host,
    RepositoryServer,
    issued_at,
    keys_of,
    make_guest_repository,
    make_host,
    next_version,
    serve,
    set_fields,
    sign,
)
from tests.hostile_server import Behaviour
from tests.repositories import Clock, Key, Keys, Publisher, make_repository, make_tiny_release
from tests.test_cli import Said, assert_fails

pytestmark = pytest.mark.slow

OWN = [Key("attacker-1"), Key("attacker-2")]  # keys that nobody trusts
FAR = 4_102_444_800  # 2100-01-01 UTC


@pytest.fixture
def repo(tmp_path: Path) -> Publisher:
    return make_guest_repository(tmp_path / "repo", "1.5.0", "2.0.0")


@pytest.fixture
def attacker(repo: Publisher, tmp_path: Path) -> Attacker:
    return Attacker(repo, tmp_path / "attacker")


@pytest.fixture
def mirror(attacker: Attacker) -> Iterator[RepositoryServer]:
    with serve(attacker.folder) as server:
        yield server


@pytest.fixture
def host(repo: Publisher, mirror: RepositoryServer, tmp_path: Path) -> Host:
    """A host that has seen what is in the repository."""
    host = make_host(tmp_path / "host", repo.root, [mirror.url], repo.clock)
    assert_takes(host, "2.0.0")
    return host


def assert_takes(host: Host, version: str | None) -> None:
    """A check succeeds, and an upgrade would take this version."""
    said = host.abctl("check", "--json")
    assert said.code == 0, said.err
    assert said.json("offers")["upgrade"] == version


def assert_refused(host: Host, attacker: Attacker, kind: type[AbctlError], *words: str) -> str:
    """Check, upgrade and the client itself end with this error in one line, and write nothing but trust."""
    pinned, before = (host.config / "root.json").read_bytes(), host.body()
    with pytest.raises(kind):
        TrustClient(pinned, host.trust, host.clock()).refresh(FolderSource(attacker.folder))
    said = host.abctl("check")
    assert_one_line(said, kind, "127.0.0.1", *words)
    upgraded = host.abctl("upgrade", "--repository", attacker.file_url)
    assert_one_line(upgraded, kind, str(attacker.folder), *words)
    assert host.body() == before
    return said.err


def assert_one_line(said: Said, kind: type[AbctlError], *words: str) -> None:
    assert_fails(said, kind.exit_code, *words)
    assert (said.out, said.err.count("\n")) == ("", 1)


def assert_honest_again(host: Host, attacker: Attacker, takes: str | None = "2.0.0") -> None:
    """Once the publisher is reached again, all is as if nothing had been: what was trusted still is."""
    attacker.relay()
    assert_takes(host, takes)


def assert_recovers(host: Host, attacker: Attacker, takes: str | None = "2.0.0") -> None:
    """Where keys were stolen, new ones make all as if nothing had been."""
    attacker.publisher.rotate("online")
    assert_honest_again(host, attacker, takes)


# --- arbitrary software -----------------------------------------------------------------------------


def add_release(version: str, manifest: bytes = b"{}") -> Callable[[Document], None]:
    """Return the change of targets that offers a release of the attacker's."""

    def change(signed: Document) -> None:
        example: Document = next(iter(signed["targets"].values()))
        target = json.loads(json.dumps(example))
        target |= {"length": len(manifest), "hashes": {"sha256": trust_digest(manifest)}}
        target["custom"]["abctl"] |= {"version": version}
        signed["targets"][f"{version}/manifest.json"] = target

    return change


def trust_digest(data: bytes) -> str:
    from hashlib import sha256  # noqa: PLC0415

    return sha256(data).hexdigest()


def test_a_release_cannot_be_added_to_targets(host: Host, attacker: Attacker) -> None:
    attacker.forge("targets", add_release("9.9.9"))
    host.forget()
    assert_refused(host, attacker, BadMetadata, "2.targets.json", "(role targets)", "not the file that")
    assert_honest_again(host, attacker)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_what_an_attacker_signs_with_keys_of_his_own_counts_for_nothing(
    host: Host, attacker: Attacker, role: str
) -> None:
    keys = {**keys_of(attacker.publisher), role: OWN}
    name = attacker.mislead(role, set_fields(), keys)
    words = (name, f"(role {role})", f"{role} was signed by 0/1 keys")
    assert_refused(host, attacker, NotSigned, *words)
    assert_recovers(host, attacker)


def test_the_repository_of_somebody_else_is_refused(host: Host, attacker: Attacker, tmp_path: Path) -> None:
    others = Keys([Key("other-root")], [Key("other-targets")], [Key("other-online")])
    other = make_repository(tmp_path / "other", ["9.0.0"], keys=others)
    shutil.rmtree(attacker.folder)
    shutil.copytree(other.folder, attacker.folder)
    assert_refused(host, attacker, NotSigned, "timestamp.json", "(role timestamp)", "0/1 keys")
    other.rotate("root")
    shutil.copytree(other.folder, attacker.folder, dirs_exist_ok=True)
    assert_refused(host, attacker, NotSigned, "2.root.json", "(role root)", "0/2 keys")
    assert_honest_again(host, attacker)


@pytest.mark.parametrize("file", ["boot.img", "root.img"])
def test_a_byte_of_an_image_that_was_changed_is_found_before_anything_can_boot_it(
    host: Host, attacker: Attacker, file: str
) -> None:
    flip(attacker.folder / "targets" / "2.0.0" / file, 500)
    running = [host.slot(SlotName.A, part) for part in (Part.BOOT, Part.ROOT)]
    before = host.body()
    said = host.abctl("upgrade", "--repository", attacker.file_url)
    assert_fails(said, DigestMismatch.exit_code, file)
    assert host.body() == before
    said = host.abctl("upgrade")
    assert_fails(said, DigestMismatch.exit_code, file, "127.0.0.1", "Slot set B")
    assert [host.slot(SlotName.A, part) for part in (Part.BOOT, Part.ROOT)] == running
    assert state_of(host) == (SlotName.A, None, SlotState.EMPTY)
    attacker.relay()
    assert host.abctl("upgrade").code == 0


def state_of(host: Host) -> tuple[SlotName, SlotName | None, SlotState]:
    """Return the primary, the slot set on trial, and the state of the other one."""
    env = read_boot_env(DiskGrubPartition(open_disk(host.image)).read()).env
    assert env is not None
    return env.primary, env.trial.slot_set if env.trial else None, env[env.primary.other].state


# --- wrong software ---------------------------------------------------------------------------------


def test_another_release_in_the_place_of_the_signed_one_is_refused(host: Host, attacker: Attacker) -> None:
    shutil.rmtree(attacker.folder / "targets" / "2.0.0")
    shutil.copytree(attacker.folder / "targets" / "1.5.0", attacker.folder / "targets" / "2.0.0")
    before = host.body()
    for options in ((), ("--repository", attacker.file_url)):
        said = host.abctl("upgrade", *options)
        assert_fails(said, DigestMismatch.exit_code, "manifest.json")
    assert host.body() == before


def test_a_release_that_is_signed_under_another_version_is_refused(host: Host, attacker: Attacker) -> None:
    # Only a publisher's mistake, or all of his keys but root's, can do this.
    manifest = (attacker.folder / "targets/1.5.0/manifest.json").read_bytes()
    attacker.mislead("targets", add_release("3.0.0", manifest), keys_of(attacker.publisher))
    shutil.copytree(attacker.folder / "targets/1.5.0", attacker.folder / "targets/3.0.0")
    before = host.body()
    said = host.abctl("upgrade")
    assert_fails(said, BadManifest.exit_code, "what was signed as 3.0.0 is 1.5.0")
    assert host.body() == before


def test_a_release_for_other_disks_is_not_taken(host: Host, attacker: Attacker) -> None:
    repo = attacker.publisher
    other = make_tiny_release(repo.folder.parent / "other", "3.0.0", layouts=("hostos",))
    repo.publish("3.0.0", release=other)
    attacker.relay()
    assert_takes(host, "2.0.0")
    said = host.abctl("upgrade", "3.0.0")
    assert_fails(said, 61, "3.0.0 is not considered", f"layout hostos, and this disk has {GUEST}")


# --- rollback ---------------------------------------------------------------------------------------


def test_what_a_host_has_seen_cannot_be_taken_back(host: Host, attacker: Attacker) -> None:
    old = attacker.record()
    attacker.publisher.publish("3.0.0")
    attacker.relay()
    assert_takes(host, "3.0.0")
    attacker.replay(old)
    words = ("timestamp.json", "(role timestamp)", "is older than what this host has seen")
    assert_refused(host, attacker, Replayed, *words)
    assert_honest_again(host, attacker, "3.0.0")


def test_the_memory_of_what_was_seen_survives_a_timestamp_without_signatures(
    host: Host, attacker: Attacker
) -> None:
    # It says what the host knows already, but must not be remembered instead.
    old = attacker.record()
    attacker.publisher.publish("3.0.0")
    attacker.relay()
    assert_takes(host, "3.0.0")
    attacker.forge("timestamp", set_fields(), OWN)
    assert_refused(host, attacker, NotSigned, "timestamp.json", "(role timestamp)")
    attacker.replay(old)
    assert_refused(host, attacker, Replayed, "timestamp.json")


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_an_older_version_of_a_role_cannot_be_signed_for_again(
    host: Host, attacker: Attacker, role: str
) -> None:
    # Who holds the online keys can lead to every file that was ever signed, but not backwards.
    old = attacker.record()
    attacker.publisher.publish("3.0.0")
    attacker.relay()
    assert_takes(host, "3.0.0")
    name = f"2.{role}.json"
    above = "timestamp" if role == "snapshot" else "snapshot"
    meta = {"version": 2, "length": len(old[name]), "hashes": {"sha256": trust_digest(old[name])}}
    lead = set_fields(meta={**attacker.read(above)["signed"]["meta"], f"{role}.json": meta})
    name = attacker.mislead(above, lead, keys_of(attacker.publisher))
    assert_refused(host, attacker, Replayed, name, f"(role {above})", "is older than what this host has seen")
    assert_recovers(host, attacker, "3.0.0")


def test_a_role_cannot_be_left_out_of_the_snapshot(host: Host, attacker: Attacker) -> None:
    def leave_out(signed: Document) -> None:
        del signed["meta"]["archive.json"]

    attacker.mislead("snapshot", leave_out, keys_of(attacker.publisher))
    assert_refused(host, attacker, BadMetadata, "3.snapshot.json", "(role snapshot)", "missing info")
    assert_recovers(host, attacker)


def test_an_older_release_is_not_taken_though_it_is_on_offer(host: Host) -> None:
    assert host.abctl("upgrade").code == 0
    host.confirm()
    before = host.body()
    said = host.abctl("upgrade", "1.5.0")
    assert_fails(said, 61, "1.5.0 is not considered because it is older than 2.0.0", "--override downgrade")
    assert host.body() == before


# --- indefinite freeze ------------------------------------------------------------------------------


def test_a_mirror_that_stands_still_is_noticed_by_its_dates(host: Host, attacker: Attacker) -> None:
    repo = attacker.publisher
    repo.clock.tick(days=2.9)
    assert_takes(host, "2.0.0")
    repo.clock.tick(days=0.2)
    words = ("timestamp.json", "(role timestamp)", "expired at 2027-01-18 08:00 UTC", "withholds")
    assert_refused(host, attacker, Expired, *words)
    repo.renew()
    assert_honest_again(host, attacker)


def test_a_host_that_has_seen_nothing_notices_it_too(host: Host, attacker: Attacker) -> None:
    host.forget()
    attacker.publisher.clock.tick(days=3.1)
    assert_refused(host, attacker, Expired, "timestamp.json", "(role timestamp)", "2027-01-18 08:00 UTC")


@pytest.mark.parametrize(
    ("role", "days", "date"), [("snapshot", 14.1, "2027-01-29"), ("targets", 180.1, "2027-07-14")]
)
def test_each_role_has_a_date_of_its_own(
    host: Host, attacker: Attacker, role: str, days: float, date: str
) -> None:
    # An attacker with the keys of the roles above can keep only those fresh.
    attacker.publisher.clock.tick(days=days)
    keys, far = keys_of(attacker.publisher), set_fields(expires="2028-01-01T00:00:00Z")
    if role == "targets":
        attacker.mislead("snapshot", far, keys)
    attacker.mislead("timestamp", far, keys)
    assert_refused(host, attacker, Expired, f"2.{role}.json", f"(role {role})", f"expired at {date}")


def test_an_expired_root_is_named(host: Host, attacker: Attacker) -> None:
    repo = attacker.publisher
    repo.clock.tick(days=366)
    repo.renew(targets=True)
    attacker.relay()
    assert_refused(host, attacker, Expired, "1.root.json", "(role root)", "expired at 2028-01-15")
    repo.rotate("root")
    assert_honest_again(host, attacker)


def test_a_new_root_that_is_held_back_ends_with_the_keys_that_it_replaced(
    host: Host, attacker: Attacker
) -> None:
    attacker.publisher.rotate("online")
    attacker.publisher.renew()  # the first was signed by the old keys too
    attacker.relay()
    attacker.drop("2.root.json")
    assert_refused(host, attacker, NotSigned, "timestamp.json", "(role timestamp)")
    assert_honest_again(host, attacker)


# --- endless data, slow retrieval, broken transfers --------------------------------------------------

# What each role's file is called when the host asks for it, with newer ones of all of them there.
FILES = {
    "root": "2.root.json",
    "timestamp": "timestamp.json",
    "snapshot": "3.snapshot.json",
    "targets": "3.targets.json",
}


def too_long(role: str) -> type[AbctlError]:
    """Return what is raised: how long snapshot and targets are is signed."""
    return TransferTooLong if role in ("root", "timestamp") else BadMetadata


@pytest.fixture
def news(attacker: Attacker, host: Host) -> None:
    """There is something new of each role."""
    repo = attacker.publisher
    repo.publish("3.0.0")
    repo.rotate("root")
    attacker.relay()


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize("role", FILES)
def test_data_without_an_end_is_cut_off_soon(
    host: Host, mirror: RepositoryServer, attacker: Attacker, role: str
) -> None:
    name, before = FILES[role], host.body()
    mirror.misbehave(f"metadata/{name}", Behaviour.ENDLESS)
    said = host.abctl("check")
    assert_one_line(said, too_long(role), name, mirror.place, f"(role {role})", "has more than")
    assert mirror.sent < 16 * 1024 * 1024  # what the sockets between hold included
    assert host.body() == before
    mirror.answers.clear()
    assert_takes(host, "3.0.0")


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize("role", FILES)
def test_a_file_that_is_too_large_is_not_read(host: Host, attacker: Attacker, role: str) -> None:
    attacker.write(FILES[role], b" " * (1024 * 1024))
    assert_refused(host, attacker, too_long(role), FILES[role], f"(role {role})", "has more than")
    assert_honest_again(host, attacker, "3.0.0")


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize("role", FILES)
def test_a_mirror_that_dribbles_is_given_up(
    host: Host, mirror: RepositoryServer, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = FILES[role]
    monkeypatch.setattr(trust, "_TIME_MIN", 0.1)
    monkeypatch.setattr(trust, "_RATE_MIN", 1e9)
    mirror.misbehave(f"metadata/{name}", Behaviour.TRICKLE, every=20)  # 1000 bytes a second
    said = host.abctl("check")
    assert_one_line(said, TransferStalled, name, mirror.place, f"(role {role})", "take another mirror")
    monkeypatch.undo()
    mirror.answers.clear()
    assert_takes(host, "3.0.0")


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize("role", ["timestamp", "targets"])
@pytest.mark.parametrize(
    ("behaviour", "code"),
    [(Behaviour.STALL, 43), (Behaviour.CUT, 42), (Behaviour.ERROR, 41), (Behaviour.LOOP, 41),
     (Behaviour.GARBAGE, 41)],
)  # fmt: skip
def test_a_transfer_that_fails_names_the_file_and_the_mirror(
    host: Host, mirror: RepositoryServer, role: str, behaviour: Behaviour, code: int
) -> None:
    name, before = FILES[role], host.body()
    mirror.misbehave(f"metadata/{name}", behaviour)
    host.patience = {**host.patience, "tries": 1}
    said = host.abctl("check")
    assert_fails(said, code, mirror.place)
    assert said.err.count("\n") == 1
    assert host.body() == before
    mirror.answers.clear()
    assert_takes(host, "3.0.0")


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_file_that_is_missing_is_named(host: Host, attacker: Attacker, role: str) -> None:
    attacker.drop(FILES[role])
    assert_refused(host, attacker, SourceNotFound, FILES[role])
    assert_honest_again(host, attacker, "3.0.0")


# --- mix and match ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize(("role", "other"), [("snapshot", "2.snapshot.json"), ("targets", "2.targets.json")])
def test_files_of_different_times_do_not_go_together(
    host: Host, attacker: Attacker, role: str, other: str
) -> None:
    data = (attacker.metadata / other).read_bytes()
    attacker.write(FILES[role], data)
    assert_refused(host, attacker, BadMetadata, FILES[role], f"(role {role})", "the mirror mixes")
    assert_honest_again(host, attacker, "3.0.0")


@pytest.mark.usefixtures("news")
@pytest.mark.parametrize("role", FILES)
def test_a_file_of_one_role_is_not_taken_for_another(host: Host, attacker: Attacker, role: str) -> None:
    other = "timestamp" if role == "targets" else "targets"
    data = (attacker.metadata / attacker.name_of(other)).read_bytes()
    attacker.write(FILES[role], data)
    assert_refused(host, attacker, BadMetadata, FILES[role], f"(role {role})")
    assert_honest_again(host, attacker, "3.0.0")


# --- extraneous dependencies ------------------------------------------------------------------------


def offer_manifest(attacker: Attacker, change: Callable[[Document], None]) -> None:
    """Offer 3.0.0 with a changed manifest: only who has the publisher's keys can do that."""
    folder = attacker.folder / "targets" / "3.0.0"
    make_tiny_release(folder, "3.0.0", layouts=(GUEST,))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    change(manifest)
    data = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(data)
    attacker.mislead("targets", add_release("3.0.0", data), keys_of(attacker.publisher))


@pytest.mark.parametrize(
    "file",
    ["../../metadata/1.root.json", "/etc/shadow", "http://elsewhere.example/root.img", "a/b", "", ".."],
)
def test_a_manifest_cannot_name_files_elsewhere(
    host: Host, attacker: Attacker, mirror: RepositoryServer, file: str
) -> None:
    offer_manifest(attacker, lambda manifest: manifest["images"][1].update(file=file))
    before = host.body()
    for options in ((), ("--repository", attacker.file_url)):
        assert_fails(host.abctl("upgrade", *options), BadManifest.exit_code, "images.1.file")
    assert host.body() == before
    targets = [path for path in mirror.asked if path.startswith("/targets/")]
    assert targets == ["/targets/3.0.0/manifest.json"]


def test_a_manifest_cannot_bring_more_files_than_the_two_images(host: Host, attacker: Attacker) -> None:
    def add_image(manifest: Document) -> None:
        manifest["images"].append({**manifest["images"][0], "part": "var"})

    offer_manifest(attacker, add_image)
    before = host.body()
    assert_fails(host.abctl("upgrade"), BadManifest.exit_code, "images")
    offer_manifest(attacker, lambda manifest: manifest.update(depends=["http://elsewhere.example/"]))
    assert_fails(host.abctl("upgrade"), BadManifest.exit_code, "depends")
    assert host.body() == before


def delegate(attacker: Attacker, names: Sequence[str], *, terminating: bool = False) -> None:
    """Let targets delegate to these roles, each of which delegates to all of them in turn."""
    keys = keys_of(attacker.publisher)
    roles = [
        {
            "name": name,
            "keyids": [key.id for key in keys["targets"]],
            "threshold": 1,
            "terminating": terminating,
            "paths": ["*/manifest.json"],
        }
        for name in names
    ]
    targets = attacker.read("targets")
    delegations = {"keys": targets["signed"]["delegations"]["keys"], "roles": roles}
    for name in names:
        signed = {**targets["signed"], "version": 1, "targets": {}, "delegations": delegations}
        document = {"signatures": sign(signed, keys["targets"]), "signed": signed}
        attacker.plant(name, json.dumps(document).encode(), keys, 1)
    attacker.mislead("targets", set_fields(delegations=delegations), keys)


@pytest.mark.parametrize(("names", "asked"), [(["a", "b"], 2), ([f"role{at}" for at in range(40)], 4)])
def test_delegations_in_circles_or_to_many_roles_cost_no_more_than_four_files(
    host: Host, attacker: Attacker, mirror: RepositoryServer, names: list[str], asked: int
) -> None:
    delegate(attacker, names)
    before = host.body()
    mirror.asked.clear()
    said = host.abctl("upgrade", "9.9.9")
    assert_fails(said, SourceNotFound.exit_code, "no release 9.9.9")
    assert len([path for path in mirror.asked if path.startswith("/metadata/1.")]) == asked
    assert host.body() == before


def test_a_delegation_that_ends_the_search_ends_it(
    host: Host, attacker: Attacker, mirror: RepositoryServer
) -> None:
    delegate(attacker, ["a", "b"], terminating=True)
    mirror.asked.clear()
    assert_fails(host.abctl("upgrade", "9.9.9"), SourceNotFound.exit_code, "no release 9.9.9")
    assert "/metadata/1.b.json" not in mirror.asked


@pytest.mark.parametrize("name", ["targets", "root"])
def test_a_delegation_back_to_a_role_above_is_refused(host: Host, attacker: Attacker, name: str) -> None:
    def change(signed: Document) -> None:
        signed["delegations"]["roles"][0]["name"] = name

    attacker.mislead("targets", change, keys_of(attacker.publisher))
    assert_refused(host, attacker, BadMetadata, "3.targets.json", "(role targets)")
    assert_recovers(host, attacker)


# --- malicious mirrors ------------------------------------------------------------------------------


def stale(evil: Attacker, server: RepositoryServer) -> None:
    evil.drop("timestamp.json")
    evil.write("timestamp.json", json.dumps(evil.read("archive")).encode())


def endless(evil: Attacker, server: RepositoryServer) -> None:
    server.misbehave("metadata/timestamp.json", Behaviour.ENDLESS)


def own_keys(evil: Attacker, server: RepositoryServer) -> None:
    evil.mislead("timestamp", set_fields(), {"timestamp": OWN})


def gone(evil: Attacker, server: RepositoryServer) -> None:
    shutil.rmtree(evil.metadata)


def other_targets(evil: Attacker, server: RepositoryServer) -> None:
    evil.forge("targets", add_release("9.9.9"))


@pytest.mark.parametrize("spoil", [stale, endless, own_keys, gone, other_targets])
def test_a_malicious_mirror_is_passed_over_and_told(
    repo: Publisher,
    attacker: Attacker,
    tmp_path: Path,
    spoil: Callable[[Attacker, RepositoryServer], None],
) -> None:
    evil = Attacker(repo, tmp_path / "evil")
    with serve(evil.folder) as first, serve(attacker.folder) as second:
        spoil(evil, first)
        host = make_host(tmp_path / "host", repo.root, [first.url, second.url], repo.clock)
        said = host.abctl("check", "--json")
        report = said.json("offers")
        assert (said.code, report["upgrade"], report["repository"]) == (0, "2.0.0", second.place)
        assert first.place in report["setbacks"][0]
        assert f"{first.place}" in said.err
        assert "going on with the next mirror" in said.err
        # What was taken from the second is asked of nobody again, so not every fault shows again.
        assert host.abctl("check").code == 0
        host.forget()
        said = host.abctl("upgrade")
        assert said.code == 0, said.err
        assert first.place in said.err
        assert "going on with the next mirror" in said.err
        assert host.version(SlotName.B) == "2.0.0"


@pytest.mark.parametrize("file", ["root.img", "manifest.json"])
def test_one_wrong_byte_on_one_mirror_is_made_good_by_the_other(
    repo: Publisher, attacker: Attacker, tmp_path: Path, file: str
) -> None:
    evil = Attacker(repo, tmp_path / "evil")
    flip(evil.folder / "targets" / "2.0.0" / file, 700)
    with serve(evil.folder) as first, serve(attacker.folder) as second:
        host = make_host(tmp_path / "host", repo.root, [first.url, second.url], repo.clock)
        said = host.abctl("upgrade")
        assert said.code == 0, said.err
        assert first.place in said.err
        assert "going on with the next mirror" in said.err
    image = (repo.folder / "targets/2.0.0/root.img").read_bytes()
    assert host.slot(SlotName.B, Part.ROOT)[: len(image)] == image
    assert state_of(host) == (SlotName.A, SlotName.B, SlotState.UNTESTED)


def test_where_every_mirror_is_malicious_each_is_told_of_in_one_line(repo: Publisher, tmp_path: Path) -> None:
    evil = [Attacker(repo, tmp_path / name) for name in ("one", "two")]
    evil[0].forge("targets", add_release("9.9.9"))
    evil[1].mislead("timestamp", set_fields(), {"timestamp": OWN})
    host = make_host(tmp_path / "host", repo.root, [item.file_url for item in evil], repo.clock)
    before = host.body()
    said = host.abctl("check")
    assert_fails(said, BadMetadata.exit_code, "no mirror can be used", "(role targets)", "(role timestamp)")
    assert said.err.count("\n") == 1
    assert host.body() == before


def test_what_one_mirror_showed_another_cannot_take_back(
    repo: Publisher, attacker: Attacker, tmp_path: Path
) -> None:
    # The first has the newest timestamp and nothing else; the second is older.
    newest = Attacker(repo, tmp_path / "newest")
    repo.publish("3.0.0")
    newest.relay()
    newest.drop("3.snapshot.json")
    host = make_host(tmp_path / "host", repo.root, [newest.file_url, attacker.file_url], repo.clock)
    said = host.abctl("check")
    assert_fails(said, Replayed.exit_code, "3.snapshot.json", "(role timestamp)", "is older than what")
    attacker.relay()
    assert_takes(host, "3.0.0")


# --- key compromise ---------------------------------------------------------------------------------


def test_a_stolen_timestamp_key_can_hold_hosts_back_until_the_snapshot_is_too_old(
    host: Host, attacker: Attacker
) -> None:
    """It cannot show anything that was not signed; rotation of the key ends it."""
    repo = attacker.publisher
    only = {**keys_of(repo), "snapshot": OWN, "targets": OWN}
    repo.publish("3.0.0")
    for _ in range(5):
        repo.clock.tick(days=2.5)
        expires = "2027-12-01T00:00:00Z"
        attacker.mislead("timestamp", set_fields(expires=expires), only)
        assert_takes(host, "2.0.0")
    repo.clock.tick(days=2.5)
    assert_refused(host, attacker, Expired, "2.snapshot.json", "(role snapshot)")
    attacker.mislead("snapshot", set_fields(), only)
    assert_refused(host, attacker, NotSigned, "3.snapshot.json", "(role snapshot)", "0/1 keys")
    repo.rotate("online")
    assert_honest_again(host, attacker, "3.0.0")


def test_a_stolen_snapshot_key_alone_leads_nowhere(host: Host, attacker: Attacker) -> None:
    attacker.publisher.publish("3.0.0")
    attacker.relay()
    attacker.write("3.snapshot.json", json.dumps(attacker.read("snapshot")).encode())
    attacker.forge("snapshot", set_fields(abctl={"issued": 1}), attacker.publisher.keys.online)
    words = ("3.snapshot.json", "(role snapshot)", "not the file that the signed metadata names")
    assert_refused(host, attacker, BadMetadata, *words)
    attacker.publisher.rotate("online")
    assert_honest_again(host, attacker, "3.0.0")


def test_a_stolen_targets_key_alone_leads_nowhere(host: Host, attacker: Attacker) -> None:
    attacker.publisher.publish("3.0.0")
    attacker.relay()
    attacker.forge("targets", add_release("9.9.9"), attacker.publisher.keys.targets)
    words = ("3.targets.json", "(role targets)", "not the file that the signed metadata names")
    assert_refused(host, attacker, BadMetadata, *words)
    attacker.publisher.rotate("targets")
    assert_honest_again(host, attacker, "3.0.0")


def test_both_online_keys_can_offer_nothing_new_and_nothing_older_than_was_seen(
    host: Host, attacker: Attacker, tmp_path: Path
) -> None:
    """They can show a host that has seen nothing what was signed for as long as it lives: 180 days."""
    repo, old = attacker.publisher, attacker.record()
    only = {**keys_of(repo), "targets": OWN}
    attacker.mislead("targets", add_release("9.9.9"), only)
    assert_refused(host, attacker, NotSigned, "3.targets.json", "(role targets)", "0/1 keys")
    repo.publish("3.0.0")
    repo.rotate("online")
    assert_honest_again(host, attacker, "3.0.0")
    only = {**keys_of(repo), "targets": OWN}  # and those are stolen too
    data = old["2.targets.json"]
    meta = {"version": 2, "length": len(data), "hashes": {"sha256": trust_digest(data)}}
    all_meta = {**attacker.read("snapshot")["signed"]["meta"], "targets.json": meta}
    name = attacker.mislead("snapshot", set_fields(meta=all_meta), only)
    assert_refused(host, attacker, Replayed, name, "(role snapshot)")
    new_host = make_host(tmp_path / "new", repo.root, [attacker.file_url], repo.clock)
    assert_takes(new_host, "2.0.0")
    repo.rotate("online")
    for each in (host, new_host):
        assert_honest_again(each, attacker, "3.0.0")


def test_targets_and_online_keys_together_offer_anything_until_root_names_others(
    host: Host, attacker: Attacker
) -> None:
    repo = attacker.publisher
    attacker.mislead("targets", add_release("9.9.9"), keys_of(repo))
    assert_takes(host, "9.9.9")
    repo.rotate("targets")
    repo.rotate("online")
    assert_honest_again(host, attacker)


def test_one_of_three_root_keys_changes_nothing(host: Host, attacker: Attacker) -> None:
    one = attacker.publisher.keys.root[:1]
    take_over = next_version(lambda signed: take_role(signed, "targets", OWN))
    attacker.forge("root", take_over, one)
    assert_refused(host, attacker, NotSigned, "2.root.json", "(role root)", "1/2 keys")

    def lower(signed: Document) -> None:
        signed["version"] = 2
        signed["roles"]["root"]["threshold"] = 1

    attacker.relay()
    attacker.forge("root", lower, one)
    assert_refused(host, attacker, NotSigned, "2.root.json", "(role root)", "1/2 keys")
    attacker.publisher.rotate("root", ["root-2", "root-3", "root-9"])
    assert_honest_again(host, attacker)


def take_role(signed: Document, role: str, keys: Sequence[Key]) -> None:
    """Let root name these keys for a role, with a threshold of one."""
    for key in keys:
        signed["keys"][key.id] = key.signer.public_key.to_dict()
    signed["roles"][role] = {"keyids": [key.id for key in keys], "threshold": 1}


@pytest.mark.parametrize("role", ["timestamp", "online", "targets"])
def test_keys_that_were_rotated_out_sign_for_nothing_any_more(
    host: Host, attacker: Attacker, role: str
) -> None:
    old = keys_of(attacker.publisher)
    attacker.publisher.rotate(role)
    attacker.relay()
    assert_takes(host, "2.0.0")
    signs = "targets" if role == "targets" else "timestamp"
    attacker.mislead(signs, set_fields(), {**keys_of(attacker.publisher), signs: old[signs]})
    assert_refused(host, attacker, NotSigned, f"(role {signs})", "0/1 keys")
    assert_recovers(host, attacker)


# --- fast-forward -----------------------------------------------------------------------------------


def test_a_version_that_leaps_ahead_locks_the_host_only_until_the_key_is_rotated(
    host: Host, attacker: Attacker
) -> None:
    repo = attacker.publisher
    attacker.mislead("timestamp", set_fields(version=2**31), keys_of(repo))
    assert_takes(host, "2.0.0")
    repo.publish("3.0.0")
    attacker.relay()
    assert_refused(host, attacker, Replayed, "timestamp.json", "(role timestamp)", "must be >= 2147483648")
    repo.rotate("online")
    assert_honest_again(host, attacker, "3.0.0")
    assert host.abctl("upgrade").code == 0


def test_a_signing_time_that_leaps_ahead_locks_the_host_only_until_the_key_is_rotated(
    host: Host, attacker: Attacker
) -> None:
    repo = attacker.publisher

    def leap(signed: Document) -> None:
        set_fields(version=2**31, expires="2120-01-01T00:00:00Z")(signed)
        issued_at(FAR)(signed)

    attacker.mislead("timestamp", leap, keys_of(repo))
    assert_refused(host, attacker, Expired, "2100-01-01 00:00 UTC by what this host knows")
    attacker.relay()
    said = assert_refused(host, attacker, Expired, "1.root.json", "(role root)")
    assert "the clock is behind" in said  # as far as it can know; the publisher has to rotate the key
    repo.rotate("online")
    assert_honest_again(host, attacker)
    report = host.abctl("check", "--json").json("offers")
    assert (report["now"][:10], report["clock"]) == ("2027-01-15", None)


def test_a_snapshot_that_leaps_ahead_locks_the_host_only_until_the_keys_are_rotated(
    host: Host, attacker: Attacker
) -> None:
    repo = attacker.publisher
    meta = {"targets.json": {"version": 2**31}, "archive.json": {"version": 2**31}}
    attacker.mislead("snapshot", set_fields(version=2**31, meta=meta), keys_of(repo))
    assert_refused(host, attacker, SourceNotFound, "2147483648.targets.json")
    repo.publish("3.0.0")
    repo.renew()
    attacker.relay()
    assert_refused(host, attacker, Replayed, "timestamp.json", "(role timestamp)")
    repo.rotate("online")
    assert_honest_again(host, attacker, "3.0.0")


def test_targets_that_leap_ahead_lock_the_host_only_until_all_keys_are_rotated(
    host: Host, attacker: Attacker
) -> None:
    repo = attacker.publisher
    attacker.mislead("targets", set_fields(version=2**31), keys_of(repo))
    assert_takes(host, "2.0.0")
    repo.publish("3.0.0")
    repo.rotate("targets")
    attacker.relay()
    assert_refused(host, attacker, Replayed, "(role snapshot)")
    repo.rotate("online")
    assert_honest_again(host, attacker, "3.0.0")


# --- thresholds -------------------------------------------------------------------------------------


@pytest.fixture
def strict(tmp_path: Path) -> Attacker:
    """A repository whose targets two keys have to sign."""
    keys = Keys(targets=[Key("targets-1"), Key("targets-2")])
    repo = make_repository(tmp_path / "strict", keys=keys, targets_threshold=2)
    repo.publish("2.0.0", layouts=(GUEST,))
    return Attacker(repo, tmp_path / "attacker")


def test_too_few_signatures_are_none(strict: Attacker, tmp_path: Path) -> None:
    repo = strict.publisher
    host = make_host(tmp_path / "host", repo.root, [strict.file_url], repo.clock)
    assert_takes(host, "2.0.0")
    keys = keys_of(repo)
    strict.mislead("targets", add_release("9.9.9"), {**keys, "targets": keys["targets"][:1]})
    assert_fails(host.abctl("check"), NotSigned.exit_code, "2.targets.json", "(role targets)", "1/2 keys")
    strict.mislead("targets", add_release("9.9.9"), {**keys, "targets": [keys["targets"][0], OWN[0]]})
    assert_fails(host.abctl("check"), NotSigned.exit_code, "3.targets.json", "(role targets)", "1/2 keys")
    strict.mislead("targets", add_release("9.9.9"), keys)
    assert_takes(host, "9.9.9")  # the test can tell


def test_one_key_that_signs_twice_is_one(strict: Attacker, tmp_path: Path) -> None:
    repo = strict.publisher
    host = make_host(tmp_path / "host", repo.root, [strict.file_url], repo.clock)
    keys = keys_of(repo)
    twice = [keys["targets"][0]] * 2
    strict.mislead("targets", add_release("9.9.9"), {**keys, "targets": twice})
    assert_fails(host.abctl("check"), BadMetadata.exit_code, "2.targets.json", "(role targets)")


# --- root rotation ----------------------------------------------------------------------------------


def test_a_host_that_is_five_roots_behind_follows_all_of_them_once(
    host: Host, attacker: Attacker, mirror: RepositoryServer
) -> None:
    for role in ("root", "targets", "online", "root", "root"):
        attacker.publisher.rotate(role)
    attacker.relay()
    mirror.asked.clear()
    assert_takes(host, "2.0.0")
    roots = [path for path in mirror.asked if path.endswith("root.json")]
    assert roots == [f"/metadata/{number}.root.json" for number in range(2, 8)]
    mirror.asked.clear()
    assert_takes(host, "2.0.0")
    assert [path for path in mirror.asked if path.endswith("root.json")] == ["/metadata/7.root.json"]
    # What was pinned may be any of the chain.
    (host.config / "root.json").write_bytes((attacker.metadata / "4.root.json").read_bytes())
    assert_takes(host, "2.0.0")


def test_a_root_that_is_missing_in_the_chain_stops_the_host_there(host: Host, attacker: Attacker) -> None:
    for role in ("root", "online", "root"):
        attacker.publisher.rotate(role)
    attacker.publisher.renew()
    attacker.relay()
    attacker.drop("3.root.json")
    assert_refused(host, attacker, NotSigned, "timestamp.json", "(role timestamp)")
    assert len(host.trust.roots) == 1
    assert_honest_again(host, attacker)
    assert len(host.trust.roots) == 3


def new_root(signed: Document) -> None:
    """Root names keys of the attacker's, and no others."""
    signed["version"] += 1
    take_role(signed, "root", OWN)


@pytest.mark.parametrize(
    ("signers", "said"),
    [(OWN, "0/2 keys"), ([Key("root-1"), *OWN], "1/2 keys"), ([Key("root-1"), Key("root-2")], "0/1 keys")],
)
def test_a_new_root_needs_the_old_keys_and_its_own(
    host: Host, attacker: Attacker, signers: list[Key], said: str
) -> None:
    attacker.forge("root", new_root, signers)
    assert_refused(host, attacker, NotSigned, "2.root.json", "(role root)", said)
    assert_honest_again(host, attacker)


@pytest.mark.parametrize("version", [1, 3, 2**31])
def test_a_root_with_another_number_than_its_name_is_refused(
    host: Host, attacker: Attacker, version: int
) -> None:
    name = attacker.forge("root", set_fields(version=version), attacker.publisher.keys.root)
    attacker.write("2.root.json", (attacker.metadata / name).read_bytes())
    words = ("2.root.json", "(role root)", f"Expected root version 2 instead got version {version}")
    assert_refused(host, attacker, Replayed, *words)


def test_a_root_is_not_unlearned(host: Host, attacker: Attacker) -> None:
    # Who stole keys that are rotated out hides the root that says so.
    old = keys_of(attacker.publisher)
    attacker.publisher.rotate("online")
    attacker.relay()
    assert_takes(host, "2.0.0")
    attacker.drop("2.root.json")
    attacker.mislead("timestamp", set_fields(version=50), old)
    assert_refused(host, attacker, NotSigned, "timestamp.json", "(role timestamp)", "0/1 keys")


# --- broken metadata --------------------------------------------------------------------------------


def raw(data: bytes) -> Callable[[Document, Sequence[Key]], bytes]:
    return lambda _document, _keys: data


def cut(document: Document, _keys: Sequence[Key]) -> bytes:
    data = json.dumps(document).encode()
    return data[: len(data) // 2]


def changed(**fields: Any) -> Callable[[Document, Sequence[Key]], bytes]:
    """Change fields of what is signed, and sign that; None takes a field away."""

    def make(document: Document, keys: Sequence[Key]) -> bytes:
        signed = {key: value for key, value in {**document["signed"], **fields}.items() if value is not None}
        return json.dumps({**document, "signed": signed, "signatures": sign(signed, keys)}).encode()

    return make


def enveloped(**fields: Any) -> Callable[[Document, Sequence[Key]], bytes]:
    return lambda document, _keys: json.dumps(
        {key: value for key, value in {**document, **fields}.items() if value is not None}
    ).encode()


def unsigned_float(document: Document, _keys: Sequence[Key]) -> bytes:
    return json.dumps({**document, "signed": {**document["signed"], "more": 0.5}}).encode()


BROKEN: dict[str, Callable[[Document, Sequence[Key]], bytes]] = {
    "empty": raw(b""),
    "zeros": raw(bytes(100)),
    "a page": raw(b"<html>404</html>"),
    "not UTF-8": raw(b'{"signed": "\xff\xfe"}'),
    "cut short": cut,
    "a list": raw(b"[]"),
    "null": raw(b"null"),
    "a word": raw(b'"signed"'),
    "no fields": raw(b"{}"),
    "deep lists": raw(b"[" * 10_000),
    "deep objects": raw(b'{"signed":' * 1_400 + b"1" + b"}" * 1_400),
    "a number of 5000 digits": raw(b'{"signed": ' + b"9" * 5_000 + b"}"),
    "a fraction": unsigned_float,
    "no signatures": enveloped(signatures=None),
    "signatures that are none": enveloped(signatures="yes"),
    "a signature that is none": enveloped(signatures=[{}]),
    "nothing signed": enveloped(signed=None),
    "signed text": enveloped(signed="yes"),
    "half a surrogate": changed(more="\ud800"),
    "no type": changed(_type=None),
    "an unknown type": changed(_type="mirrors"),
    "a newer specification": changed(spec_version="2.0.0"),
    "no specification": changed(spec_version=None),
    "version 0": changed(version=0),
    "version -1": changed(version=-1),
    "version as text": changed(version="3"),
    "no version": changed(version=None),
    "no date": changed(expires=None),
    "a date that is none": changed(expires="tomorrow"),
    "a date in a 13th month": changed(expires="2027-13-01T00:00:00Z"),
}
OF_ROLE: dict[str, dict[str, Callable[[Document, Sequence[Key]], bytes]]] = {
    "root": {
        "no keys": changed(keys=None),
        "keys that are none": changed(keys={"a": "b"}),
        "no roles": changed(roles={}),
        "a threshold of 0": changed(roles={role: {"keyids": [], "threshold": 0} for role in ROLES}),
    },
    "timestamp": {
        "no snapshot": changed(meta={}),
        "a snapshot without a version": changed(meta={"snapshot.json": {}}),
        "a negative length": changed(meta={"snapshot.json": {"version": 9, "length": -1}}),
    },
    "snapshot": {
        "no targets": changed(meta={}),
        "no files": changed(meta=None),
        "a digest of no kind": changed(
            meta={"targets.json": {"version": 1, "hashes": {"rot13": "a"}}, "archive.json": {"version": 1}}
        ),
    },
    "targets": {
        "targets that are none": changed(targets=["3.0.0"]),
        "a target without a digest": changed(targets={"3.0.0/manifest.json": {"length": 3}}),
        "delegations that are none": changed(delegations=[]),
        "a policy that is none": changed(abctl="no"),
        "a policy of a newer abctl": changed(abctl={"format": 2}),
        "a floor that is none": changed(abctl={"floor": "../.."}),
        "recalls that are none": changed(abctl={"recalled": [1]}),
    },
}
DAMAGES = [(role, name) for role in FILES for name in (*BROKEN, *OF_ROLE[role])]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Attacker, Host]:
    folder = tmp_path_factory.mktemp("shop")
    repo = make_guest_repository(folder / "repo", "2.0.0")
    attacker = Attacker(repo, folder / "attacker")
    host = make_host(folder / "host", repo.root, [attacker.file_url], repo.clock)
    assert_takes(host, "2.0.0")
    return attacker, host


@pytest.mark.parametrize(("role", "name"), DAMAGES)
def test_broken_metadata_is_told_in_one_sentence_with_file_role_and_reason(
    shop: tuple[Attacker, Host], role: str, name: str
) -> None:
    attacker, host = shop
    attacker.relay()
    kept = host.trust_file.read()
    keys = keys_of(attacker.publisher)
    document = attacker.read(role)
    document["signed"]["version"] += 1
    make = BROKEN.get(name) or OF_ROLE[role][name]
    file = attacker.plant(role, make(document, keys[role]), keys, document["signed"]["version"])
    before, trusted = host.body(), host.trust
    said = host.abctl("check")
    if name == "a digest of no kind":  # it is told of the file that it is to be of
        role, file = "targets", "1.targets.json"
    assert said.code in (BadMetadata.exit_code, NotSigned.exit_code, Replayed.exit_code), said.err
    assert_fails(said, said.code, file, str(attacker.folder), f"(role {role})")
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.isprintable() or said.err[:-1].isprintable()
    assert host.body() == before
    assert host.trust.roots == trusted.roots
    if role in ("root", "timestamp"):
        assert_honest_again(host, attacker)
    host.forget(kept)


@pytest.mark.parametrize("name", BROKEN)
def test_a_pinned_root_that_is_broken_is_told_in_one_sentence(
    shop: tuple[Attacker, Host], tmp_path: Path, name: str
) -> None:
    attacker, _ = shop
    attacker.relay()
    data = BROKEN[name](attacker.read("root"), attacker.publisher.keys.root)
    host = make_host(tmp_path, data, [attacker.file_url], attacker.publisher.clock)
    before = host.fingerprint()
    said = host.abctl("check")
    assert said.code in (BadMetadata.exit_code, NotSigned.exit_code)
    assert_fails(said, said.code, "root.json", "configuration", "(role root)")
    assert said.err.count("\n") == 1
    assert host.fingerprint() == before


def test_metadata_cannot_write_on_the_terminal(shop: tuple[Attacker, Host]) -> None:
    attacker, host = shop
    attacker.relay()
    keys = keys_of(attacker.publisher)

    def change(signed: Document) -> None:
        signed["targets"]["\x1b[31m\a/manifest.json"] = next(iter(signed["targets"].values()))
        recall = {"version": "2.0.0", "reason": "\x1b[2J\rit hums", "at": 1}
        signed["abctl"]["recalled"] = [recall]

    attacker.mislead("targets", change, keys)
    for arguments in (("check",), ("upgrade",), ("upgrade", "2.0.0"), ("status",)):
        said = host.abctl(*arguments)
        assert not [char for char in said.out + said.err if char != "\n" and not char.isprintable()]
    host.forget()
    attacker.mislead("timestamp", set_fields(_type="\x1b[31m\ared"), keys)
    said = host.abctl("check")
    assert (said.code, said.err[:-1].isprintable()) == (BadMetadata.exit_code, True)
    host.forget()


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["a" * 64, "1.0.0", 2**63]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places_in(item, (*path, key))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), role=st.sampled_from(sorted(FILES)), value=json_values)
def test_whatever_stands_in_a_field_that_was_signed_a_client_says_a_sentence_or_goes_on(
    shop: tuple[Attacker, Host], data: st.DataObject, role: str, value: Any
) -> None:
    attacker, _ = shop
    attacker.relay()
    keys = keys_of(attacker.publisher)
    document = attacker.read(role)
    document["signed"]["version"] += 1
    place = data.draw(st.sampled_from(sorted(places_in(document["signed"]), key=repr)))
    inside = document["signed"]
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    document["signatures"] = sign(document["signed"], keys[role])
    attacker.plant(role, json.dumps(document).encode(), keys, 2 if role != "targets" else None)
    client = TrustClient(attacker.publisher.root, TrustState(), attacker.publisher.clock())
    said: AbctlError | None = None
    try:
        client.refresh(FolderSource(attacker.folder), Version("7.7.7"))
    except AbctlError as error:
        said = error
    assert said is None or str(said).isprintable()
    assert client.state.roots in ((), (attacker.record().get("2.root.json", b"").decode(),))


# --- as a user meets it -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (stale, 34, ("timestamp.json", "(role timestamp)")),
        (endless, 44, ("timestamp.json", "(role timestamp)", "more than the 16384 bytes")),
        (own_keys, 35, ("timestamp.json", "(role timestamp)", "0/1 keys")),
        (gone, 40, ("timestamp.json",)),
        (other_targets, 34, ("2.targets.json", "(role targets)")),
    ],
)
def test_processes_without_rights_that_fetch_and_check_come_to_the_same(
    tmp_path: Path,
    spoil: Callable[[Attacker, RepositoryServer], None],
    code: int,
    words: tuple[str, ...],
) -> None:
    repo = make_guest_repository(tmp_path / "repo", "1.5.0", "2.0.0", clock=Clock(int(time.time())))
    evil, good = Attacker(repo, tmp_path / "evil"), Attacker(repo, tmp_path / "good")
    with serve(evil.folder) as first, serve(good.folder) as second:
        spoil(evil, first)
        host = make_host(tmp_path / "host", repo.root, [first.url], repo.clock)
        before = host.body()
        said = host.process("check")
        assert_fails(said, code, first.place, *words)
        assert (said.out, said.err.count("\n"), host.body()) == ("", 1, before)
        host.configure(f'[repository]\nmirrors = ["{first.url}", "{second.url}"]\n')
        said = host.process("upgrade")
        assert said.code == 0, said.err
        assert state_of(host) == (SlotName.A, SlotName.B, SlotState.UNTESTED)
        assert first.place in said.err
        assert "going on with the next mirror" in said.err
