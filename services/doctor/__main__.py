"""The command `python -m services.doctor`."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mutt.errors import SettingsError
from mutt.findings import Finding, State, document, exit_status, read_environment_file
from mutt.settings import SERVICES, LogSettings
from services.doctor.examination import examine
from services.logging_utils import configure

MARKS = {State.OK: "●", State.WARNING: "▲", State.PROBLEM: "✗"}


def text(findings: Sequence[Finding]) -> str:
    """Return the findings as lines: mark, word, thing, what was seen, and below it what to do."""
    wide = max(len(finding.what) for finding in findings)
    lines = []
    for finding in findings:
        seen = finding.seen.replace("\n", "\n" + " " * (wide + 13))
        lines.append(f"{MARKS[finding.state]} {finding.state:<8} {finding.what:<{wide}}  {seen}")
        if finding.remedy:
            lines.append(f"{'':<{wide + 13}}→ {finding.remedy}")
    counts = [(state, sum(finding.state is state for finding in findings)) for state in State]
    return "\n".join([*lines, "", ", ".join(f"{count} {state}" for state, count in counts)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, print, and return 0 when all is well, 1 for a problem; argparse ends with 2 for a wrong argument."""
    parser = argparse.ArgumentParser(
        prog="python -m services.doctor",
        description="Look for what is wrong where MUTT runs, and say what to do. Changes nothing, sends no event.",
    )
    parser.add_argument(
        "--service", action="append", choices=sorted(SERVICES), help="only this one (may be repeated); default: all"
    )
    parser.add_argument(
        "--env-file", type=Path, help="the services' environment file, such as /etc/mutt/mutt.env, beside the variables"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    parser.add_argument("--strict", action="store_true", help="exit status 1 for warnings too")
    options = parser.parse_args(arguments)
    environ = dict(os.environ)
    if options.env_file is not None:
        try:
            environ |= read_environment_file(options.env_file.read_text(encoding="utf-8"), str(options.env_file))
        except (OSError, UnicodeDecodeError, SettingsError) as error:
            parser.error(f"--env-file: {error}")
    configure(LogSettings(level="CRITICAL"), "doctor")  # what is wrong is told once, below
    findings = asyncio.run(examine(options.service or list(SERVICES), environ, options.env_file))
    print(json.dumps(document(findings), ensure_ascii=False, indent=2) if options.json else text(findings))  # noqa: T201
    return exit_status(findings, strict=options.strict)


if __name__ == "__main__":
    sys.exit(main())
