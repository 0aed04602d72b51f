"""What is to be said of a machine beside how its slot sets stand, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass

from abctl.cli.report import Advice
from abctl.cli.sentences import warn_of_releases
from abctl.cli.wiring import Machine
from abctl.core.advice import Prompt
from abctl.core.clock import judge_clock
from abctl.core.machine import Host
from abctl.core.signed_dates import read_dates, say_expired
from abctl.core.space import is_short, say_shortage
from abctl.core.trust_state import TrustState
from abctl.errors import AbctlError

SET_CLOCK = "timedatectl set-ntp true"


@dataclass(frozen=True, slots=True)
class Concern:
    """A warning, and what mends it."""

    sentence: str
    advice: Advice | None = None


def find_concerns(machine: Machine, host: Host, trust: TrustState, prompt: Prompt) -> Iterator[Concern]:
    """Yield what an admin should know; what cannot be looked at is told as such."""
    for text in warn_of_releases(host, trust):
        yield Concern(text)
    yield from _find_dates(machine, trust, prompt)
    yield from _find_on_config_volume(machine, prompt)
    if prompt.disk is None:
        yield from _find_firewall()


def _find_dates(machine: Machine, trust: TrustState, prompt: Prompt) -> Iterator[Concern]:
    dates, now = read_dates(trust), machine.ports.now()
    if wrong := judge_clock(now, dates.signed):
        yield Concern(wrong, Advice(sentence="set the clock", command=SET_CLOCK))
    if expired := say_expired(dates, now):
        fetch = Advice(sentence="fetch what is newer", command=prompt.command("check"))
        yield Concern(expired, fetch)


def _find_on_config_volume(machine: Machine, prompt: Prompt) -> Iterator[Concern]:
    if machine.config is None:
        return
    try:
        problems = machine.config.settings_problems()
        repair = Advice(sentence="see what mends the settings", command=prompt.command("doctor"))
        yield from (Concern(text, repair) for text in problems)
        # On a running host a health check says it.
        if prompt.disk and is_short(space := machine.config.space()):
            foreign = machine.config.foreign()
            command = foreign.command if foreign else None
            make_room = Advice(sentence="make room on the config volume", command=command)
            yield Concern(say_shortage(space, foreign), make_room)
    except AbctlError as error:
        yield Concern(str(error))


def _find_firewall() -> Iterator[Concern]:
    """Yield what is wrong with the firewall, where one is configured."""
    from abctl.host.firewall_files import has_firewall  # noqa: PLC0415

    if not has_firewall():
        return
    from abctl.cli.firewall_standing import warn_of_firewall  # noqa: PLC0415

    again = Advice(sentence="load the firewall's policy again", command="abctl firewall apply")
    yield from (Concern(text, again) for text in warn_of_firewall())
