"""The reports of the firewall as text for people."""

from collections.abc import Iterator, Sequence

from abctl.cli.report_firewall import (
    FirewallApplyReport,
    FirewallCheckReport,
    FirewallDiffReport,
    FirewallExplainReport,
    FirewallReport,
    RuleReport,
    SetReport,
)
from abctl.cli.style import LABEL_WIDTH, Style, paragraph, sentence, wrap
from abctl.firewall.drift import Kind
from abctl.firewall.rules import Action, Chain

_PREFIXES_SHOWN = 4
_WORDS = {Action.ACCEPT: "ACCEPTED", Action.DROP: "DROPPED"}
_BEYOND = {Action.ACCEPT: "is accepted all the same", Action.DROP: "is dropped"}


def render_rules(report: FirewallReport, style: Style) -> str:
    """Return the rules of each chain in order, the sets, and what an admin should know."""
    lines = paragraph("Policy", _say_policy(report), style)
    for chain in Chain:
        lines += ["", style.bold(chain.capitalize())]
        for rule in report.rules:
            if rule.chain is chain:
                lines += _rule(rule, style)
    if report.sets:
        lines += ["", style.bold("Sets")]
        for item in report.sets:
            lines += _set(item, style)
    remarks = list(_remarks(report.remarks, style))
    return "\n".join([*lines, *([""] if remarks else []), *remarks])


def _say_policy(report: FirewallReport) -> str:
    what = f"{report.policy}, {report.description}" if report.description else report.policy
    how = {
        True: "The kernel has exactly these rules",
        False: "The kernel has other rules: 'abctl firewall diff' says which",
        None: "Whether the kernel has these rules is not known",
    }[report.loaded]
    return f"{what}. {how}."


def _rule(rule: RuleReport, style: Style) -> Iterator[str]:
    paint = style.good if rule.action is Action.ACCEPT else style.bad
    indent = 4 + 2 + 6 + 2
    text = rule.sentence.removeprefix(f"{rule.chain}: {rule.action} ")
    notes = [rule.name] if rule.name else []
    if rule.packets:
        notes.append(f"{rule.packets} packet{'' if rule.packets == 1 else 's'}")
    first, *rest = wrap(f"{text} ({'; '.join(notes)})", max(20, min(style.width, 100) - indent))
    yield f"{rule.place:>4}  {paint(rule.action)}{' ' * (6 - len(rule.action))}  {first}"
    yield from (" " * indent + line for line in rest)


def _set(item: SetReport, style: Style) -> Iterator[str]:
    shown = ", ".join(item.prefixes[:_PREFIXES_SHOWN])
    more = len(item.prefixes) - _PREFIXES_SHOWN
    what = f"{shown} and {more} more" if more > 0 else shown or "empty"
    indent = max(16, len(item.name) + 4)
    first, *rest = wrap(f"{what} ({item.source})", max(20, min(style.width, 100) - indent))
    yield f"  {item.name:<{indent - 2}}{first}"
    yield from (" " * indent + line for line in rest)


def _remarks(remarks: Sequence[str], style: Style) -> Iterator[str]:
    for number, text in enumerate(remarks):
        word = "" if number else "Warning"
        yield from paragraph(style.warn(word), sentence(text), style, len(word))


def render_check(report: FirewallCheckReport, style: Style) -> str:
    """Return that a policy is sound, and what an admin should know of it."""
    word = "SOUND"
    said = f"The policy {report.policy} comes to {report.rules} rules"
    said += ", and the kernel takes them" if report.kernel else ""
    lines = paragraph(style.good(word), sentence(said), style, len(word))
    if report.kernel_problem:
        lines += paragraph("Note", sentence(f"the kernel was not asked: {report.kernel_problem}"), style)
    return "\n".join([*lines, *_remarks(report.remarks, style)])


def render_apply(report: FirewallApplyReport, style: Style) -> str:
    """Return what was loaded, and what has to follow."""
    word = "EMERGENCY" if report.emergency else "LOADED"
    if report.emergency:
        said = f"the emergency rules are loaded, for {report.emergency}"
        return "\n".join(paragraph(style.bad(word), sentence(said), style, len(word)))
    lines = paragraph(
        style.good(word),
        f"The rules of {report.policy} are loaded, {report.rules} of them.",
        style,
        len(word),
    )
    if report.seconds is not None:
        said = (
            f"in {report.seconds} s the rules from before are put back, unless you confirm in a new session:"
        )
        lines += paragraph(style.warn("To do"), sentence(said)[:-1], style, len("To do"))
        lines += [f"{'':<{LABEL_WIDTH}}  {style.bold('abctl firewall confirm')}"]
    return "\n".join([*lines, *_remarks(report.remarks, style)])


def render_diff(report: FirewallDiffReport, style: Style) -> str:
    """Return each difference on lines of its own."""
    if report.same:
        word = "SAME"
        said = f"The kernel has exactly the rules of {report.policy}."
        return "\n".join(paragraph(style.good(word), said, style, len(word)))
    word = "DIFFERENT" if report.loaded else "NOT LOADED"
    count = len(report.differences)
    many = f"in {count} thing{'' if count == 1 else 's'}"
    lines = paragraph(style.bad(word), f"The kernel differs from {report.policy} {many}:", style, len(word))
    for item in report.differences:
        place = f", rule {item.place}" if item.place else ""
        head = {Kind.MISSING: "missing", Kind.EXTRA: "not wanted", Kind.WRONG: "wrong"}[item.kind]
        first, *rest = wrap(f"{head}{place}: {item.text}", max(20, min(style.width, 100) - LABEL_WIDTH - 2))
        lines += [f"{'':<{LABEL_WIDTH}}- {first}", *(f"{'':<{LABEL_WIDTH}}  {line}" for line in rest)]
    return "\n".join(lines)


def render_explanation(report: FirewallExplainReport, style: Style) -> str:
    """Return what becomes of the packet, by which rule, and which rules nearly accept it."""
    word = _WORDS[report.action]
    paint = style.good if report.action is Action.ACCEPT else style.bad
    lines = paragraph(paint(word), sentence(report.packet), style, len(word))
    lines += paragraph("By", _say_rule(report.rule), style)
    if report.beyond:
        said = f"{report.rule.limits}; what is beyond that {_BEYOND[report.beyond]}"
        lines += paragraph("Limit", sentence(said), style)
    for rule in report.unless:
        lines += paragraph("Unless", _say_rule(rule), style)
    for number, item in enumerate(report.misses):
        said = f"{_say_rule(item.rule)} Its {item.but} is another."
        lines += paragraph("" if number else "Nearly", said, style)
    return "\n".join([*lines, *paragraph("Policy", report.policy, style)])


def _say_rule(rule: RuleReport) -> str:
    name = f" ({rule.name})" if rule.name else ""
    return sentence(f"{rule.chain} rule {rule.place}: {rule.sentence.removeprefix(f'{rule.chain}: ')}{name}")
