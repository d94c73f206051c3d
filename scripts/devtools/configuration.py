"""muttdev config: the dynamic configuration by the web UI's API, so that each change is checked and recorded."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from scripts.devtools.instance import DEFAULT_FOLDER, Instance, UserError

PATIENCE = 15.0  # seconds
# A proxy of the user has no part in what stays on this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

app = typer.Typer(
    help="Show and change the dynamic configuration, through the web UI's API: each change is checked, recorded and "
    "announced there.",
    no_args_is_help=True,
)

DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder of the instance.")]
Url = Annotated[
    str | None, typer.Option("--url", help="Address of another web UI; its key is taken from WEBUI_API_KEY.")
]
Key = Annotated[str, typer.Argument(help="Name of a key, as list shows it.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]


@app.command("list")
def list_keys(data_dir: DataDir = DEFAULT_FOLDER, url: Url = None) -> None:
    """Show every key: what is in effect and why, and what is possible."""
    table = Table("key", "in effect", "from", "possible", "meaning")
    for each in _call(data_dir, url, "GET", "")["config"]:
        source = each["source"] if each["source"] != "environment" else each["variable"]
        table.add_row(each["key"], str(each["effective"]), source, _possible(each), each["warning"] or each["purpose"])
    Console(width=None if os.isatty(1) else 200).print(table)


@app.command("get")
def get(key: Key, data_dir: DataDir = DEFAULT_FOLDER, url: Url = None) -> None:
    """Print the value that is in effect, alone."""
    print(_call(data_dir, url, "GET", _path(key))["effective"])


@app.command("set")
def set_key(
    key: Key,
    value: Annotated[str, typer.Argument(help="The new value.", show_default=False)],
    reason: Reason = "",
    data_dir: DataDir = DEFAULT_FOLDER,
    url: Url = None,
) -> None:
    """Set a key in Redis; services follow at once."""
    document = {"value": _typed(value)} | ({"reason": reason} if reason else {})
    _tell(_call(data_dir, url, "PUT", _path(key), document))


@app.command("unset")
def unset(key: Key, reason: Reason = "", data_dir: DataDir = DEFAULT_FOLDER, url: Url = None) -> None:
    """Take a key out of Redis: its environment variable or its default holds again."""
    _tell(_call(data_dir, url, "DELETE", _path(key) + (f"?reason={quote(reason)}" if reason else "")))


def _path(key: str) -> str:
    return f"/{quote(key, safe='')}"


def _tell(setting: dict[str, Any]) -> None:
    print(f"{setting['key']} is {setting['effective']} now, from {setting['source']}")
    if setting["warning"]:
        print(setting["warning"])


def _call(data_dir: Path, url: str | None, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Return the API's document; raises UserError with what it says otherwise."""
    if url is None:
        known = Instance.find(data_dir).environment()
        base, key = known["WEBUI_URL"], known["WEBUI_API_KEY"]
    else:
        base, key = url.rstrip("/"), os.environ.get("WEBUI_API_KEY", "").strip()
        if not (key.isascii() and key.isprintable()):
            # The client's own error would show it.
            raise UserError("WEBUI_API_KEY holds a character that no key has: set it to the key alone")
    request = urllib.request.Request(  # noqa: S310  (an address that the user gave)
        f"{base}/api/v2/config{path}",
        None if body is None else json.dumps(body).encode(),
        {"X-API-KEY": key, "Content-Type": "application/json"},
        method=method,
    )
    try:
        with DIRECT.open(request, timeout=PATIENCE) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            raise UserError(_said(error)) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"the web UI at {base} does not answer: {error}. Is it healthy? See: muttdev.py status"
        ) from error


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, LookupError, TypeError):
        return f"the web UI answers {error.code}"


def _typed(text: str) -> Any:
    """Return a number where the text is one: the API takes numbers for numbers and words for words."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _possible(setting: dict[str, Any]) -> str:
    return " or ".join(setting["choices"]) or f"{setting['low']:.12g} to {setting['high']:.12g}"
