"""Finds in MUTT's source what reaches beyond its process, and compares it with the register of steps.

It knows a place by the function that it is in, and an effect by its kind: a script by its name, a command of Redis, a
statement, a transaction, a request, a change of a folder. What a statement says is seen at run time (crash_sql.py).
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.chaos.crash_redis import HARMLESS, changes
from tests.chaos.points import STEPS, TREE

SCRIPTS = ("archive_old_events", "create_monthly_partitions", "migrate", "init_dynamic_config")
PIPES = {"pipe", "pipeline", "commands"}
CLIENTS = {"redis", "_redis", "client", "_client"} | PIPES
# Methods of a client that send nothing that lasts, beside those that are named like a harmless command.
LOOKING = {
    "client_list",
    "client_info",
    "scan_iter",
    "pubsub",
    "pipeline",
    "aclose",
    "multi",
    "sentinel_masters",
    "read",
}
LOOKING |= {"config_get", "sentinel_slaves"}
FILES = {"mkdir", "rmdir", "unlink", "touch", "rename", "write_text", "write_bytes", "fsync", "delete_file", "truncate"}
REQUESTS = {"post", "put", "patch", "delete", "request"}
# Where statements only look, or concern the session alone; one that changes something ends the process at run time.
LOOKS_ONLY = (
    "services.alerter.caches:*",
    "services.postgres_connector:is_connected",
    "services.schema:*",
    "services.partitions:_present",
    "services.web_ui.audit_queries:*",
    "services.web_ui.dry_runs:*",
    "services.web_ui.rule_queries:*",
    "services.web_ui.stored_config:*",  # an advisory lock
    "services.web_ui.imports:*",  # likewise
    "services.web_ui.dead_moves:*",  # likewise
    "services.web_ui.context:*",  # those who ask it for a transaction are registered
    "services.web_ui.unrecorded:*",  # an advisory lock, and that transaction
    "services.web_ui_service:_check_schema",
    "scripts.archiving.months:*",
    "scripts.archiving.tables:*",
    "scripts.archiving.known:*",  # temporary tables
    "scripts.archiving.files:Writer.write",
    "scripts.archiving.parts:all_parts",
    "scripts.archiving.archiver:Archiver.briefly",
    "scripts.archiving.archiver:Archiver._has_rows",
    "scripts.archiving.archiver:Archiver._write",
    "scripts.archiving.restoring:Restorer._copy",  # a temporary table
    "scripts.archive_old_events:*",
    "scripts.migrate:_version",
    "services.alerter.upkeep:*",
)


class Place(NamedTuple):
    """An effect of a kind in a function."""

    kind: str
    site: str
    line: int = 0


def unregistered() -> list[str]:
    """Return the places in the source that the register does not have."""
    known = {(place.kind, place.site) for place in map(_place_of, STEPS)}
    modules = {(kind, site.partition(":")[0]) for kind, site in known}
    found = []
    for place in places():
        is_known = (place.kind, place.site) in known
        if place.kind == "pipeline":  # it is sent by one function, and may be filled by another
            is_known = (place.kind, place.site.partition(":")[0]) in modules
        if place.kind in {"sql", "transaction"}:
            is_known = is_known or any(fnmatch(place.site, pattern) for pattern in LOOKS_ONLY)
        if not is_known:
            found.append(f"{place.kind} in {place.site}, line {place.line}")
    return found


def vanished() -> list[str]:
    """Return the functions that the register names and that the source does not have."""
    named = {step.site for step in STEPS} | {via for step in STEPS for via in step.via if via.count(":") == 1}
    functions = {site for path in sources() for site, _ in _functions(path)}
    return sorted(named - functions)


def places() -> Iterator[Place]:
    """Find all effects."""
    for path in sources():
        yield from _places_in(path)


@cache
def _places_in(path: Path) -> list[Place]:
    scripts = _scripts(path)
    calls = ((site, call) for site, function in _functions(path) for call in _calls(function))
    return [Place(kind, site, call.lineno) for site, call in calls if (kind := _kind(call, scripts))]


def sources() -> Iterator[Path]:
    """Return the files of what is promised: the services without the doctor, who only looks, and the scripts."""
    root = Path(TREE)
    yield from (path for path in sorted((root / "services").rglob("*.py")) if "doctor" not in path.parts)
    yield from sorted((root / "scripts" / "archiving").glob("*.py"))
    yield from (root / "scripts" / f"{name}.py" for name in SCRIPTS)


@cache
def _functions(path: Path) -> list[tuple[str, ast.AST]]:
    module = str(path.relative_to(TREE))[:-3].replace("/", ".")

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = f"{prefix}{child.name}"
                yield f"{module}:{name}", child
                yield from walk(child, f"{name}.<locals>.")
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            else:
                yield from walk(child, prefix)

    return list(walk(ast.parse(path.read_bytes()), ""))


def _calls(function: ast.AST) -> Iterator[ast.Call]:
    """Find the calls of a function that are not in one within it."""
    for child in ast.iter_child_nodes(function):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _calls(child)


def _scripts(path: Path) -> dict[str, str]:
    """Return which names of a module stand for which script that changes something."""
    found = {}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _name(node.value.func) == "beside":
            script = str(ast.literal_eval(node.value.args[1]))
            folder = path.parent.parent / "protocol" if "protocol" in ast.dump(node.value.args[0]) else path.parent
            if changes((folder / "lua" / f"{script}.lua").read_bytes()):
                found[ast.unparse(node.targets[0])] = script
    return found


def _kind(call: ast.Call, scripts: dict[str, str]) -> str | None:
    name = _name(call.func)
    for each in (call.func, *call.args):
        if (script := scripts.get(ast.unparse(each))) is not None:
            return f"lua {script}"
    receiver = _name(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    is_of_client = receiver in CLIENTS and name not in LOOKING and name.upper().encode() not in HARMLESS
    kinds = {
        "transaction": name == "transaction",
        "pipeline": is_of_client and receiver in PIPES and name != "execute" and not _is_member(call),
        "redis": is_of_client and receiver not in PIPES,
        "sql": name in {"execute", "executemany", "copy"} and receiver not in CLIENTS | {"_held", "_waiting", ""},
        "http": "session" in receiver and name in REQUESTS,
        "file": bool(receiver) and _is_file(call, name),
    }
    return next((kind for kind, is_it in kinds.items() if is_it), None)


def _is_member(call: ast.Call) -> bool:
    """Tell whether the receiver is an object's member: a pipeline of commands is a name alone."""
    return isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Attribute)


def _is_file(call: ast.Call, name: str) -> bool:
    if name == "open":
        modes = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return any(set(mode) & set("wax+") and len(mode) < 4 for mode in modes)
    # A path's takes one argument, a text's two, a date's only names.
    return name in FILES or (name == "replace" and len(call.args) == 1 and not call.keywords)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _place_of(step: object) -> Place:
    effect, site = str(getattr(step, "effect", "")), str(getattr(step, "site", ""))
    if effect.startswith("lua ") or effect == "pipeline":
        return Place(effect, site)
    if effect == "COMMIT":
        return Place("transaction", site)
    if effect.partition(" ")[0] in {"file", "HTTP"} and effect != "file of statements":
        return Place(effect.partition(" ")[0].lower(), site)
    return Place("redis" if " " not in effect or effect == "CLIENT UNBLOCK" else "sql", site)
