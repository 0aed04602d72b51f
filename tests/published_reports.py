"""Reports of every kind on a signed repository, with every field filled at least once."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from abctl.build import rootkeys
from abctl.build.audit import audit, find_release
from abctl.build.repository import read_pending
from abctl.build.roles import Role
from abctl.build.rootkeys import Change
from abctl.cli.describe_keys import describe_keys
from abctl.cli.describe_published import (
    describe_audit,
    describe_publication,
    describe_release,
    describe_releases,
)
from abctl.cli.report import Report
from abctl.cli.report_published import NewKeyReport
from abctl.core.units import Version
from tests.repositories import Key, make_repository


@cache
def list_published_reports() -> tuple[tuple[str, Report], ...]:
    """Return reports with the names of their schemas."""
    with tempfile.TemporaryDirectory() as folder:
        return tuple(_make(Path(folder)))


def _make(folder: Path) -> Iterator[tuple[str, Report]]:
    repo = make_repository(folder / "repo", ["1.0.0", "1.1.0", "2.0.0"])
    repo.publish("3.0.0", needs="2.0.0", rollout="1%,100%@3d", floor="1.1.0", keep=2)
    repo.pause("3.0.0")
    repo.abort("3.0.0", "it is slow")
    repo.revoke("1.0.0", "loses network")
    place, now = repo.folder, repo.clock()
    state = repo.state
    yield "audit", describe_audit(place, audit(repo.repository, now), now)
    release = find_release(repo.repository, state.catalogue.find(Version("3.0.0")))
    yield "release", describe_release(place, state.catalogue, release, now)
    added = {Role.TIMESTAMP: (Key("online-2").signer.public_key,)}
    rootkeys.rotate(repo.repository, Change(add=added), now)
    repo.clock.tick(days=200)
    now = repo.clock()
    pending = read_pending(repo.repository, len(state.roots))
    yield "keys", describe_keys(place, state, pending, now)
    yield "keys", describe_keys(place, None, pending, now)
    yield "releases", describe_releases(place, state, now)
    yield (
        "publish",
        describe_publication(
            place, state, now, sentence="all is well", changed=True, version=Version("3.0.0")
        ),
    )
    yield "key", NewKeyReport(file="a", public="a.pub", keyid="4f" * 32, comment="", encrypted=True)
