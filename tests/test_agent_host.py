"""What the agent does for a guest with the host's own programs."""

from pathlib import Path

import pytest

from abctl.cli.agent_host import HSM, LibvirtGuest
from abctl.host import libvirt

NAMED = 'name = "node1"\nuri = "test:///default"\n[disk]\npath = "/dev/hostlvm/guestos"\n'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(None, ("guestos", {})), (NAMED, ("node1", {"uri": "test:///default"}))],
    ids=["no description", "another name"],
)
def test_the_hsm_goes_to_the_guest_that_the_host_describes(
    text: str | None, wanted: tuple[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, tuple[int, ...], dict[str, str]]] = []
    for function in ("attach_usb", "detach_usb"):
        monkeypatch.setattr(libvirt, function, lambda name, *ids, **more: called.append((name, ids, more)))
    description = tmp_path / "guest.toml"
    if text:
        description.write_text(text)
    guest = LibvirtGuest(description)
    guest.attach_hsm()
    guest.detach_hsm()
    assert called == [(wanted[0], HSM, wanted[1])] * 2
