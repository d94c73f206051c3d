"""Back to a former state of a rule, a host, a team or a configuration key: a new change, recorded like any other."""

from typing import Any, NamedTuple

from psycopg.errors import UniqueViolation

from mutt.dynamic_keys import ALL
from mutt.hosts import validate_host, validate_team
from mutt.record_changes import editable, title
from mutt.rules import FIELDS, validate_rule
from services.web_ui.context import Context, too_little
from services.web_ui.keyring import Caller, Role
from services.web_ui.queries import HOSTS, RULES, TEAMS, Change, Queries, Row
from services.web_ui.replies import ApiError
from services.web_ui.rule_queries import TABLES, TOPICS, change_by_id, history, last_change, restore_rule
from services.web_ui.stored_config import TABLE as CONFIG
from services.web_ui.stored_config import StoredConfig

NEEDED = {RULES.name: Role.EDITOR, HOSTS.name: Role.EDITOR, TEAMS.name: Role.EDITOR, CONFIG: Role.ADMIN}
HISTORY_MAX = 1000


class Reverted(NamedTuple):
    """What was done; `change_id` is what an Undo takes back, None where nothing changed."""

    table: str
    record_id: str
    message: str
    change_id: int | None
    state: Row | None


async def revert_change(parts: Context, caller: Caller, change_id: int, change: Change) -> Reverted:
    """Bring a record back to what it was before a change."""
    async with parts.database() as queries:
        found = await change_by_id(queries, change_id)
    if found is None:
        raise ApiError(404, f"there is no change {change_id}")
    return await _bring(parts, caller, found, found["old_values"], change, goal="what it was before")


async def restore_change(parts: Context, caller: Caller, change_id: int, change: Change) -> Reverted:
    """Bring a record back to what a change made of it."""
    async with parts.database() as queries:
        found = await change_by_id(queries, change_id)
    if found is None:
        raise ApiError(404, f"there is no change {change_id}")
    return await _bring(parts, caller, found, found["new_values"], change, goal="that state")


async def revert_rule(parts: Context, caller: Caller, rule_id: int, version: int, change: Change) -> Reverted:
    """Bring a rule back to one of its versions."""
    async with parts.database() as queries:
        known = await history(queries, RULES.name, str(rule_id), HISTORY_MAX)
    if not known:
        raise ApiError(404, f"there is no rule {rule_id}")
    states = [(row, row[side]) for row in known for side in ("new_values", "old_values") if row[side]]
    wanted = next(((row, state) for row, state in states if state.get("version") == version), None)
    if wanted is None:
        raise ApiError(404, f"version {version} of rule {rule_id} is not on record")
    return await _bring(parts, caller, wanted[0], wanted[1], change, goal=f"version {version}")


async def _bring(
    parts: Context, caller: Caller, found: Row, state: dict[str, Any] | None, change: Change, *, goal: str
) -> Reverted:
    table, record_id = found["table_name"], str(found["record_id"])
    needed = NEEDED.get(table)
    if needed is None:
        raise ApiError(400, f"a change of {table} cannot be reverted here")
    if caller.role < needed:
        raise ApiError(403, too_little(caller, needed))
    change = change._replace(reason=change.reason or f"reverts change {found['id']}")
    if table == CONFIG:
        done = await _bring_config(parts, record_id, state, change)
    else:
        async with parts.change(TOPICS[table]) as queries:
            done = await _bring_row(queries, table, record_id, state, change)
    name = title(table, record_id)
    name = name[0].upper() + name[1:]
    async with parts.database() as queries:
        last = await last_change(queries, table, record_id) if done else None
        row = None if table == CONFIG else await queries.one(TABLES[table], _key(table, record_id))
    if not done:
        return Reverted(table, record_id, f"{name} is {goal} already.", None, row)
    gone = state is None
    return Reverted(table, record_id, f"{name} is {'gone' if gone else 'back to ' + goal}.", last, row)


async def _bring_config(parts: Context, name: str, state: dict[str, Any] | None, change: Change) -> bool:
    key = ALL.get(name)
    if key is None:
        raise ApiError(404, f"there is no dynamic key {name} any more")
    text = None if state is None else str(state.get("value"))
    if text is not None:
        try:
            key.parse(text)
        except ValueError as error:
            raise ApiError(400, f"the former value is not possible: {error}", details={"value": str(error)}) from None
    return await StoredConfig(parts).replace(key, text, change)


async def _bring_row(
    queries: Queries, table_name: str, record_id: str, state: dict[str, Any] | None, change: Change
) -> bool:
    table = TABLES[table_name]
    row = await queries.one(table, _key(table_name, record_id), lock=True)
    if state is None:
        if row is not None:
            await queries.delete(table, row, change)
        return row is not None
    values = _valid(table_name, state)
    if row is not None:
        if all(row[name] == value for name, value in values.items()):
            return False
        await queries.update(table, row, values, change)
        return True
    try:
        if table is RULES:
            newest = max((_version(each) for each in await history(queries, table_name, record_id, 5)), default=0)
            made = await restore_rule(queries, values, int(record_id), newest + 1)
            await queries.record(table_name, "CREATE", made["id"], change, old=None, new=made)
        else:
            await queries.insert(table, values, change)
    except UniqueViolation:
        raise ApiError(409, f"{title(table_name, record_id)} was made anew meanwhile; read it again") from None
    return True


def _valid(table: str, state: dict[str, Any]) -> dict[str, Any]:
    if table == RULES.name:
        return validate_rule({name: state.get(name) for name in FIELDS})
    return (validate_team if table == TEAMS.name else validate_host)(editable(state) or {})


def _version(row: Row) -> int:
    return max(int((row[side] or {}).get("version") or 0) for side in ("old_values", "new_values"))


def _key(table: str, record_id: str) -> int | str:
    if table != RULES.name:
        return record_id
    return int(record_id) if record_id.isdecimal() else 0
