"""A check in a process without rights is not believed: what it gives back is checked again."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abctl.core.trust_state import TrustState
from abctl.errors import AbctlError, BadMetadata, NotSigned, Replayed, ServerFailed, SourceNotFound
from abctl.host.source import FolderSource
from abctl.ports import Source
from abctl.update.refresh import Anchor, refresh_task
from tests.repositories import Publisher, make_repository

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def repo(tmp_path: Path) -> Publisher:
    return make_repository(tmp_path / "repo", ["1.0.0", "2.0.0"])


def refresh(
    repo: Publisher, state: TrustState, run: Callable[[str, bytes, Source], bytes]
) -> tuple[list[str], TrustState]:
    kept = [state]
    done = Anchor(repo.root, repo.clock(), run).refresh([FolderSource(repo.folder)], state, kept.append)
    return sorted(item.terms.version for item in done.offering.releases), kept[-1]


def in_this_process(_: str, argument: bytes, source: Source) -> bytes:
    return refresh_task(source, argument)


def lying(change: Callable[[dict[str, Any]], object]) -> Callable[[str, bytes, Source], bytes]:
    """Return a process that changes what it was told by the repository."""

    def run(_: str, argument: bytes, source: Source) -> bytes:
        answer = json.loads(refresh_task(source, argument))
        change(answer)
        return json.dumps(answer).encode()

    return run


def test_what_was_accepted_is_remembered_and_not_fetched_again(repo: Publisher) -> None:
    versions, state = refresh(repo, TrustState(), in_this_process)
    assert versions == ["1.0.0", "2.0.0"]
    asked: list[str] = []

    def run(_: str, argument: bytes, source: Source) -> bytes:
        answer = refresh_task(source, argument)
        asked.extend(json.loads(answer)["files"])
        return answer

    assert refresh(repo, state, run)[0] == versions
    assert asked == ["metadata/timestamp.json"]


def _replace(answer: dict[str, Any], name: str, old: str, new: str) -> None:
    [found] = [key for key in answer["files"] if key.endswith(name)]
    assert old in answer["files"][found]
    answer["files"][found] = answer["files"][found].replace(old, new)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda answer: _replace(answer, "timestamp.json", '"version":2', '"version":9'), NotSigned),
        (lambda answer: _replace(answer, "targets.json", "2.0.0", "2.0.1"), BadMetadata),
        (lambda answer: answer["files"].pop("metadata/timestamp.json"), SourceNotFound),
        (lambda answer: answer.update(files={}), SourceNotFound),
        (lambda answer: answer.update(files=[]), ServerFailed),
        (lambda answer: answer.pop("error"), ServerFailed),
        (lambda answer: answer.update(error={"class": "SystemExit", "text": "\x1b[2J bad"}), BadMetadata),
    ],
)
def test_a_process_that_was_taken_over_convinces_nobody(
    repo: Publisher, change: Callable[[dict[str, Any]], object], error: type[AbctlError]
) -> None:
    with pytest.raises(error) as caught:
        refresh(repo, TrustState(), lying(change))
    assert "\x1b" not in str(caught.value)


def test_a_process_that_was_taken_over_cannot_set_the_host_back(repo: Publisher, tmp_path: Path) -> None:
    old = refresh_task(
        FolderSource(repo.folder), json.dumps(_argument(repo, TrustState(), repo.clock())).encode()
    )
    repo.publish("3.0.0")
    _, state = refresh(repo, TrustState(), in_this_process)
    with pytest.raises(Replayed):
        refresh(repo, state, lambda *_: old)


def _argument(repo: Publisher, state: TrustState, clock: int) -> dict[str, Any]:
    return {
        "pinned": repo.root.decode(),
        "roots": state.roots,
        "metadata": dict(state.metadata),
        "clock": clock,
        "wanted": None,
    }


def test_all_that_refreshing_imports_is_there_before_the_rights_are_gone(repo: Publisher) -> None:
    script = f"""
import json, sys
from pathlib import Path
from abctl.host.source import FolderSource
from abctl.update.refresh import refresh_task
from abctl.errors import AbctlError
argument = json.loads({json.dumps(json.dumps(_argument(repo, TrustState(), repo.clock())))})
before = set(sys.modules)
source = FolderSource(Path({str(repo.folder)!r}))
for clock in (argument["clock"], argument["clock"] + 10**9):
    refresh_task(source, json.dumps({{**argument, "clock": clock}}).encode())
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
