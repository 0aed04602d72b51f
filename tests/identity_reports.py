"""Reports of the commands of an identity, for the tests of their forms."""

from collections.abc import Iterator

from abctl.cli.describe_identity import describe_identity
from abctl.cli.identity_host import calculate_identity
from abctl.cli.report import Report
from abctl.cli.report_identity import AppliedReport
from abctl.core.settings import Settings
from abctl.identity.identity import make_identity
from abctl.identity.management import Management


def list_identity_reports() -> Iterator[tuple[str, Report]]:
    values = {
        "deployment": "testnet",
        "ipv6_prefix": "2602:ffe4:801:17",
        "ipv6_gateway": "fe80::1",
        "node_id": "4wd4u",
    }
    whole = calculate_identity("70:b5:e8:e8:25:de", values)
    yield "identity", describe_identity(whole, running="localhost", warnings=("a word",))
    yield "identity", describe_identity(make_identity(Settings(), Management(None)))
    yield (
        "identity-applied",
        AppliedReport(hostname="host-70b5e8e825de", changed=("a",), warnings=("b",), failures=("c",)),
    )
    yield "identity-applied", AppliedReport(hostname=None, changed=(), warnings=(), failures=())
