"""Compile Python's files so that the same sources give the same bytes."""

import sys
from pathlib import Path

from abctl.host.run import run_for_complaints

_TIME_LIMIT = 900  # seconds; two thousand files take 20
# In a process of its own: what else is loaded gets into the result.
_SCRIPT = """\
import json, py_compile, sys
for source, made, name in json.load(sys.stdin):
    try:
        py_compile.compile(
            source, made, name, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    except (py_compile.PyCompileError, ValueError, RecursionError):
        pass
"""


def compile_files(jobs: str) -> None:
    """Compile; ``jobs`` is JSON, a list of source, result, and the name for tracebacks. Raise ToolFailed."""
    python = Path(sys.executable)
    run_for_complaints(
        *(str(python), "-S", "-s", "-P", "-c", _SCRIPT),
        stdin=jobs.encode(),
        timeout=_TIME_LIMIT,
        environment={"PYTHONPATH": "", "PYTHONWARNINGS": "ignore"},
    )
