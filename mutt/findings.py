"""What a look for faults found: each thing with its state as a word, and what to do where it is not well."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from mutt.errors import SettingsError

# Each name in `failing` is told with its state or its problem; who holds remediation's lease is no trouble.
_NO_COMPLAINTS = {"status", "timestamp", "version", "service", "queue_depth", "failing", "problems", "notes", "lease"}
CLOSE = 0.86  # of two names that differ by a letter or two


class State(StrEnum):
    """How a thing is: `warning` may go on as it is for a while, `problem` may not."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is, what was seen, and what to do about it ("" when it is well)."""

    what: str
    seen: str
    state: State = State.OK
    remedy: str = ""


def ok(what: str, seen: str) -> Finding:
    """Return a thing that is well."""
    return Finding(what, seen)


def warning(what: str, seen: str, remedy: str) -> Finding:
    """Return a thing that somebody should see to."""
    return Finding(what, seen, State.WARNING, remedy)


def problem(what: str, seen: str, remedy: str) -> Finding:
    """Return a thing that keeps MUTT from its work, or from keeping its promises."""
    return Finding(what, seen, State.PROBLEM, remedy)


def exit_status(findings: Iterable[Finding], *, strict: bool = False) -> int:
    """Return 1 where there is a problem, or with `strict` a warning; else 0."""
    bad = {State.PROBLEM, State.WARNING} if strict else {State.PROBLEM}
    return int(any(finding.state in bad for finding in findings))


def document(findings: Collection[Finding]) -> dict[str, Any]:
    """Return the findings for a program: the worst state, and each of them."""
    states = {finding.state for finding in findings}
    worst = next((state for state in (State.PROBLEM, State.WARNING) if state in states), State.OK)
    listed = [
        {"what": each.what, "state": str(each.state), "seen": each.seen, "remedy": each.remedy} for each in findings
    ]
    return {"state": str(worst), "findings": listed}


def complaints(health: Mapping[str, Any]) -> str:
    """Return what a health document says that is not well, for a reader: `redis: disconnected; circuit: OPEN: ...`."""
    told = dict(health)
    for words in (health.get("problems"), health.get("notes")):
        told |= words if isinstance(words, Mapping) else {}
    wrong = {name: value for name, value in told.items() if name not in _NO_COMPLAINTS and value != "connected"}
    return "; ".join(f"{name}: {value}" for name, value in wrong.items())


def nearly(names: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Return which of the names nothing reads though they look like one that is read, each with that one."""
    found = {}
    for name in names:
        if name not in known and (close := get_close_matches(name, known, 1, CLOSE)):
            found[name] = close[0]
    return found


def read_environment_file(text: str, path: str) -> Mapping[str, str]:
    """Return the variables of a file as systemd's EnvironmentFile= reads it; raises SettingsError naming the line.

    Source of the format: systemd.exec(5). Lines that go on after a backslash are not understood.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not name.isidentifier() or value.endswith("\\"):
            raise SettingsError(f"{path}, line {number}: NAME=value is needed, one a line")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        found[name] = value[1:-1] if quoted else value
    return found
