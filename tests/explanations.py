"""What abctl explain and abctl doctor report of the hosts in ``stories``."""

from collections.abc import Iterator, Mapping

from abctl.cli.describe import describe_status
from abctl.cli.describe_explain import describe_explanation
from abctl.cli.report import Report
from abctl.cli.report_explain import DoctorReport, ExplainReport, FindingReport
from abctl.cli.verdict import Scene
from abctl.core.advice import Prompt
from abctl.core.contents import Contents
from abctl.core.doctor import Verdict
from abctl.core.slot import SlotName
from abctl.update.operate import observe
from tests import stories
from tests.stories import NOW
from tests.world import World

WHOLE = {name: Contents(has_kernel=True) for name in SlotName}


def explain(
    world: World, contents: Mapping[SlotName, Contents] = WHOLE, prompt: Prompt | None = None
) -> ExplainReport:
    """Return the explanation of a world, whose slot sets hold this."""
    observed, prompt = observe(world.ports), prompt or Prompt()
    scene = Scene(observed.host, observed.reading, world.state.files, prompt, contents=contents)
    return describe_explanation(describe_status(scene, layout="hostos"), scene, NOW)


def list_explain_reports() -> Iterator[tuple[str, Report]]:
    """Yield reports by the names of their schemas."""
    yield "explain", explain(stories.on_trial())
    yield "explain", explain(stories.lost(), prompt=Prompt("host.img"))
    findings = tuple(
        FindingReport(name="lock", verdict=verdict, sentence="it hangs", command=command, repaired=None)
        for verdict in Verdict
        for command in (None, "kill 7")
    )
    yield "doctor", DoctorReport(disk=None, verdict=Verdict.FAULT, findings=findings)
