"""Make the report of a check."""

from abctl.cli.report_offers import ObjectionReport, OfferReport, OffersReport, RoleReport
from abctl.cli.repository import Findings, say_objections
from abctl.core.clock import format_time
from abctl.core.consider import Considered, Reason, choose


def describe_offers(findings: Findings, *, disk: str | None = None) -> OffersReport:
    """Return what is on offer and why it is taken or not."""
    offering, vantage = findings.refreshed.offering, findings.vantage
    chosen = choose(findings.considered)
    recall = offering.policy.recall_of(vantage.version)
    return OffersReport(
        disk=disk,
        repository=findings.place,
        version=vantage.version,
        now=format_time(offering.now),
        clock=findings.clock,
        upgrade=chosen.terms.version if chosen else None,
        sentence=say_outcome(findings),
        releases=tuple(_describe(item, taken=item is chosen) for item in findings.considered),
        unreadable=offering.unreadable,
        recalled=recall.reason if recall else None,
        metadata=tuple(
            RoleReport(role=role, version=offering.versions[role], expires=format_time(expires))
            for role, expires in offering.expires.items()
        ),
        setbacks=findings.refreshed.setbacks,
    )


def _describe(item: Considered, *, taken: bool) -> OfferReport:
    terms = item.terms
    return OfferReport(
        version=terms.version,
        published=format_time(terms.published),
        download=terms.download,
        layouts=terms.layouts,
        taken=taken,
        objections=tuple(
            ObjectionReport(
                reason=objection.reason, sentence=objection.sentence, overridden=objection.is_overridden
            )
            for objection in item.objections
        ),
    )


def say_outcome(findings: Findings) -> str:
    """Return what an upgrade would come to, in one sentence."""
    has = findings.vantage.version or "a release of unknown version"
    chosen = choose(findings.considered)
    if chosen:
        return f"this host has {has}, and 'abctl upgrade' takes {chosen.terms.version}"
    if not findings.considered:
        return f"{findings.place} offers no release"
    newest = findings.considered[0]
    if any(item.reason is Reason.SAME for item in newest.standing):
        return f"this host has {has}, the newest on offer: nothing to do"
    return f"{newest.terms.version} is not considered because {say_objections(newest)}"
