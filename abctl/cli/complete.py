"""What a shell offers for an argument: versions that a host knows. Quick, and never with an error."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator

import click
from click.shell_completion import CompletionItem

from abctl.cli.wiring import Machine, Target, open_machine
from abctl.core.bootenv import SlotState
from abctl.core.slot import SlotName
from abctl.update.operate import observe

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Find = Callable[[Machine], Iterable[tuple[str, str]]]


def _completer(find: Find, *, files: bool = False) -> Completer:
    """Return what click asks: the values that begin as the word does, and ``files`` where those may do."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = {value: said for value, said in _look(ctx, find) if value.startswith(incomplete)}
        items = [CompletionItem(value, help=said) for value, said in found.items()]
        return [*items, CompletionItem(incomplete, type="file")] if files else items

    return complete


def _look(ctx: click.Context, find: Find) -> list[tuple[str, str]]:
    """Look at the machine that the words before name; nothing where that fails, whatever the reason."""
    logging.disable()
    try:
        with open_machine(_target_of(ctx), write=False) as machine:
            return list(find(machine))
    except Exception:
        # Who presses TAB has asked nothing yet, and an error would stand in the middle of the line.
        return []


def _target_of(ctx: click.Context) -> Target:
    """Return what the words before name: no command has run that would have made it."""
    params = ctx.find_root().params
    booted = params.get("booted")
    return Target(
        params.get("disk"), params.get("layout"), SlotName(booted) if booted else None, params.get("config")
    )


def find_refused(machine: Machine) -> Iterator[tuple[str, str]]:
    """Yield each version that is refused, and why."""
    host = observe(machine.ports).host
    yield from ((item.version, item.reason) for item in reversed(host.record.refusals))
    for name in SlotName:
        version = host.env[name].version
        if version and host.env[name].state is SlotState.BAD:
            yield version, f"slot set {name} holds it and is bad"


def find_known(machine: Machine) -> Iterator[tuple[str, str]]:
    """Yield each version that was last seen in the repository, and where else it is known from."""
    host = observe(machine.ports).host
    offered = machine.trust.read().metadata.get("targets", "{}")
    for path in json.loads(offered).get("signed", {}).get("targets", {}):
        if path.endswith("/manifest.json"):
            yield path.removesuffix("/manifest.json"), "on offer when last looked"
    for entry in reversed(host.record.entries):
        if entry.version:
            yield entry.version, "was here before"


complete_refused = _completer(find_refused)
complete_release = _completer(find_known, files=True)
