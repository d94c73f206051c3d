#!/usr/bin/env python3
"""Write docs/api.md, configuration.md and metrics.md from the code: `generate_reference.py [--check]`."""

import argparse
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from mutt import dynamic_keys, settings
from mutt.archive_settings import ArchiveSettings
from mutt.counting_settings import CountingSettings
from mutt.server_settings import DatabaseSettings, OwnTlsSettings, RedisSettings, VaultSettings
from mutt.variables import Variable
from scripts.devtools.api_reference import reference
from scripts.devtools.services import SERVICES as PROCESSES
from services.runtime import instruments
from services.web_ui.app import api as web_ui_api

DOCS = Path(__file__).resolve().parent.parent / "docs"
GENERATED = "<!-- Written by `python scripts/generate_reference.py`; do not edit. -->"
TITLES = {
    "ingestor": "Ingestor",
    "alerter": "Alerter",
    "moog-forwarder": "Moog forwarder",
    "webui": "Web UI",
    "remediation": "Remediation",
}
SHARED = (
    settings.LogSettings, settings.TracingSettings, RedisSettings, OwnTlsSettings, VaultSettings,
    settings.QueueNames, DatabaseSettings, settings.CircuitSettings, CountingSettings,
)  # fmt: skip
CONFIGURATION = """\
Settings come from environment variables, read once at start. An impossible value is refused then, with the variable,
the value and what is allowed. An empty value counts as not set. Some values also have a key in Redis that can be
changed while the services run; see [dynamic configuration](#dynamic-configuration).
"""
DYNAMIC = """\
Redis strings `mutt:config:{key}`, read when `DYNAMIC_CONFIG_ENABLED` is true. A key that names a variable wins over it
once it is set. A change takes effect at once when its name is published on `mutt:config:updates`, else within 5 s. A
value that is out of bounds is refused and logged once; the last good one stays. The console and `muttdev.py config`
check a value before it is set, and keep on record who changed it and why:

    python3 scripts/muttdev.py config set moog_rate_limit 100 --reason "a storm"

By hand, where the web UI is down:

    redis-cli SET mutt:config:moog_rate_limit 100
    redis-cli PUBLISH mutt:config:updates moog_rate_limit
"""
SECRETS = """\
With `VAULT_ADDR` set they are read from Vault at `VAULT_SECRETS_PATH`; without it, each from the variable of its name
or from the file that `NAME_FILE` names, such as `INGEST_API_KEY_FILE=/run/secrets/ingest`. Of a pair both are valid
at once, so that each can be changed without an interruption.

| secret | what it opens | read by |
|---|---|---|
| `INGEST_API_KEY`, `INGEST_API_KEY_NEXT` | the ingestor | ingestor |
| `WEBUI_API_KEY`, `WEBUI_API_KEY_NEXT` | the web UI and its API | web UI |
| `MOOG_API_KEY` | Moogsoft's webhook | Moog forwarder |
| `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | the archive's bucket | the archive's script |
| `REDIS_PASS_CURRENT`, `REDIS_PASS_NEXT` | Redis | all services |
| `REDIS_SENTINEL_PASS` | the sentinels, where they have a password | all services |
| `DB_PASS_CURRENT`, `DB_PASS_NEXT` | PostgreSQL | alerter, Moog forwarder, web UI |
"""
METRICS = """\
Each service shows its metrics at `/metrics`, in Prometheus' text format, beside those of the Python process. Every
value that a label may have is listed; series of known labels are there from the start, so that a rate has a zero to
begin at. Depths are sampled once a second and absent while Redis is away: unknown is not zero.
"""


def configuration() -> str:
    """Return the text of docs/configuration.md."""
    lines = ["# Configuration", "", GENERATED, "", CONFIGURATION]
    lines += ["## All services", "", *_table(_own(settings.CommonSettings))]
    for cls in SHARED:
        lines += [f"### {(inspect.getdoc(cls) or '').rstrip('.')}", ""]
        users = [TITLES[name] for name, service in settings.SERVICES.items() if cls in _nested(service)]
        if len(users) < len(TITLES):
            lines += [f"Read by: {', '.join(users)}.", ""]
        lines += _table(_own(cls))
    common = {variable.name for variable, _ in _own(settings.CommonSettings)}
    for name, service in settings.SERVICES.items():
        own = [(variable, kind) for variable, kind in _own(service) if variable.name not in common]
        lines += [f"## {TITLES[name]}", "", *_table(own)]
    lines += ["## scripts/archive_old_events.py", "", *_table(_own(ArchiveSettings))]
    lines += ["## Dynamic configuration", "", DYNAMIC, "| key | type | default | allowed | variable | purpose |"]
    lines.append("|---|---|---|---|---|---|")
    for key in dynamic_keys.ALL.values():
        variable = f"`{key.variable}`" if key.variable else ""
        cells = (f"`{key.name}`", key.kind.__name__, f"`{key.default}`", _allowed(key), variable, key.purpose)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", "## Secrets", "", SECRETS])


def metrics() -> str:
    """Return the text of docs/metrics.md."""
    lines = ["# Metrics", "", GENERATED, "", METRICS]
    common = _families(instruments.CommonInstruments)
    sections = {f"{TITLES[name]} (port {_port(name)})": _families(cls) for name, cls in instruments.SERVICES.items()}
    for families in sections.values():
        for name in common:
            del families[name]
    sections["Every service"] = common
    for title, families in sections.items():
        lines += [f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        for name, (family, labels) in families.items():
            lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
        lines.append("")
    return "\n".join(lines)


def api() -> str:
    """Return the text of docs/api.md."""
    return reference(web_ui_api().openapi(), GENERATED)


def _own(cls: type[Any]) -> Iterator[tuple[Variable, Any]]:
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if "variable" in item.metadata:
            yield item.metadata["variable"], hints[item.name]


def _nested(cls: type[Any]) -> set[type[Any]]:
    hints = typing.get_type_hints(cls)
    return {hints[item.name] for item in dataclasses.fields(cls) if dataclasses.is_dataclass(hints[item.name])}


def _table(rows: Iterable[tuple[Variable, Any]]) -> list[str]:
    lines = ["| variable | type | default | allowed | purpose |", "|---|---|---|---|---|"]
    for variable, kind in rows:
        if isinstance(kind, types.UnionType):
            kind = next(option for option in typing.get_args(kind) if option is not type(None))  # noqa: PLW2901
        name = "list" if typing.get_origin(kind) is tuple else kind.__name__
        cells = (f"`{variable.name}`", name, _default(variable), _allowed(variable), variable.purpose)
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _default(variable: Variable) -> str:
    if variable.required:
        return "required"
    value = variable.default
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _allowed(variable: Variable | dynamic_keys.DynamicKey) -> str:
    if variable.choices:
        return ", ".join(f"`{choice}`" for choice in variable.choices)
    if variable.low is not None and variable.high is not None:
        return f"{_number(variable.low)} to {_number(variable.high)}"
    pattern = getattr(variable, "pattern", None)
    return f"`{pattern}`".replace("|", "\\|") if pattern else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


def _families(cls: type[instruments.CommonInstruments]) -> dict[str, tuple[Metric, str]]:
    """Return each metric of a service with its labels in words, by its full name."""
    made = [value for value in vars(cls(CollectorRegistry())).values() if isinstance(value, MetricWrapperBase)]
    families = [(next(iter(metric.collect())), metric._labelnames) for metric in made]  # noqa: SLF001  (no other way)
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: (family, _labels(family, names))
        for family, names in families
    }


def _labels(family: Metric, names: Iterable[str]) -> str:
    words = []
    for name in names:
        found = dict.fromkeys(sample.labels[name] for sample in family.samples) or instruments.LATER.get(name, ())
        words.append(f"`{name}`" + (f": {', '.join(value or '(empty)' for value in found)}" if found else ""))
    return "; ".join(words)


def _port(name: str) -> int:
    ports = PROCESSES[name].ports
    return ports["metrics" if "metrics" in ports else "http"][1]


def main() -> None:
    """Write the files, or compare them and exit with 1 where they are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 when a file is out of date")
    check = parser.parse_args().check
    stale = []
    texts = {"api.md": api(), "configuration.md": configuration(), "metrics.md": metrics()}
    for name, text in texts.items():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                path.write_text(text, encoding="utf-8")
    verb = "out of date, run scripts/generate_reference.py" if check else "written"
    print(f"{', '.join(stale)}: {verb}" if stale else f"{', '.join(texts)} are current")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
