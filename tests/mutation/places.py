"""Where things are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/mutation.md"
DECIDED = ROOT / "docs/mutation/decided.json"
REASONS = ROOT / "tests/survivors.toml"
TREE = ROOT / ".cache/mutation"
METAS = TREE / "mutants/abctl/core"  # what mutmut keeps of each module
