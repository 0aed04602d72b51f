"""Make schemas/ and docs/errors.md from the code, or check that they are in step with it.

python -m tests.schemas           writes them
python -m tests.schemas --check   names those that are out of step, and fails
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from abctl.cli import (
    agent_jobs,
    progress_json,
    report,
    report_disk,
    report_explain,
    report_firewall,
    report_guest,
    report_health,
    report_identity,
    report_images,
    report_offers,
    report_published,
    report_release,
    report_upgrade,
)
from abctl.core.config import Config
from abctl.core.layout_file import LayoutForm
from abctl.core.recipe import Recipe
from abctl.core.release import Manifest
from abctl.core.settings import Settings
from abctl.firewall.form import PolicyForm
from abctl.vm.description import Description
from tests import agent_forms
from tests.errors_page import make_errors_page
from tests.generated import ROOT, write_or_check

# What users write, then what commands print.
INPUTS: dict[str, type[BaseModel]] = {
    "manifest": Manifest,
    "layout": LayoutForm,
    "config": Config,
    "recipe": Recipe,
    "firewall-policy": PolicyForm,
    "settings": Settings,
    "guest": Description,
    "agent-request": agent_forms.REQUEST,
    "agent-answer": agent_forms.ANSWER,
}
OUTPUTS: dict[str, type[report.Report]] = {
    "status": report.StatusReport,
    "history": report.HistoryReport,
    "evidence": report.EvidenceReport,
    "explain": report_explain.ExplainReport,
    "doctor": report_explain.DoctorReport,
    "health": report_health.HealthReport,
    "guest-status": report_guest.GuestReport,
    "guest-done": report_guest.GuestDoneReport,
    "agent-jobs": agent_jobs.JobsReport,
    "identity": report_identity.IdentityReport,
    "identity-applied": report_identity.AppliedReport,
    "rehearse": report.RehearseReport,
    "plan": report_upgrade.PlanReport,
    "install": report_upgrade.InstallReport,
    "disk": report_disk.DiskReport,
    "check": report_disk.CheckReport,
    "create": report_disk.CreateReport,
    "build": report_release.BuildReport,
    "images": report_images.ImagesReport,
    "key": report_published.NewKeyReport,
    "keys": report_published.KeysReport,
    "publish": report_published.PublishReport,
    "releases": report_published.ReleasesReport,
    "release": report_published.ReleaseReport,
    "audit": report_published.AuditReport,
    "offers": report_offers.OffersReport,
    "firewall": report_firewall.FirewallReport,
    "firewall-check": report_firewall.FirewallCheckReport,
    "firewall-apply": report_firewall.FirewallApplyReport,
    "firewall-diff": report_firewall.FirewallDiffReport,
    "firewall-explain": report_firewall.FirewallExplainReport,
}
# A line each, of a stream.
LINES: dict[str, Any] = {"progress": progress_json.ProgressLine}


class _Generator(GenerateJsonSchema):
    """Leaves out titles that only repeat a field's name; a report holds no field but its own."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().dataclass_schema(schema), "additionalProperties": False}


def make_schema(name: str, kind: Any, title: str, mode: JsonSchemaMode) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``kind``."""
    made = TypeAdapter(kind).json_schema(mode=mode, schema_generator=_Generator)
    head = {"$schema": _Generator.schema_dialect, "$id": f"urn:abctl:schema:{name}", "title": title}
    return {**head, "description": made.pop("description"), **{**made, "title": title}}


def make_files() -> dict[Path, str]:
    """Return what each generated file has to hold."""
    schemas = {
        name: make_schema(name, kind, str(kind.model_config["title"]), "validation")
        for name, kind in INPUTS.items()
    }
    schemas |= {
        name: make_schema(name, kind, f"abctl {name} report", "serialization")
        for name, kind in OUTPUTS.items()
    }
    schemas |= {
        name: make_schema(name, kind, f"abctl {name} line", "serialization") for name, kind in LINES.items()
    }
    files = {
        ROOT / "schemas" / f"{name}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }
    return files | {ROOT / "docs" / "errors.md": make_errors_page()}


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` return 1 where one is out of step."""
    return write_or_check(make_files(), "make schemas", arguments, (ROOT / "schemas").glob("*"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
