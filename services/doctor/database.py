"""PostgreSQL: reached, by which password, its version, schema, partitions, rights and connections."""

import dataclasses
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection

from mutt.errors import MisconfiguredError
from mutt.findings import Finding, State, ok, problem, warning
from mutt.server_settings import DatabaseSettings
from services import postgres_connector, schema
from services.partitions import missing_partitions
from services.runtime.secrets import SecretSource

OLDEST = 140_000
CLOCK_WARNING = 5.0  # seconds
PARTITIONING = {"FUNCTION create_monthly_partition(date)": "EXECUTE"}
# What each service does with what; the comment at the head of the schema grants it.
RIGHTS = {
    "alerter": {
        "event_audit_log": "SELECT, INSERT",
        "alert_rules": "SELECT",
        "development_hosts": "SELECT",
        "device_teams": "SELECT",
        **PARTITIONING,
        "DATABASE": "TEMPORARY",
    },
    "moog-forwarder": {"delivery_log": "INSERT", **PARTITIONING},
    "webui": {
        "event_audit_log": "SELECT",
        "delivery_log": "SELECT",
        "alert_rules": "SELECT, INSERT, UPDATE, DELETE",
        "development_hosts": "SELECT, INSERT, UPDATE, DELETE",
        "device_teams": "SELECT, INSERT, UPDATE, DELETE",
        "config_audit_log": "SELECT, INSERT",
    },
}
WHOLE = "see that the role may do this (the head of database/mutt_schema_v2.1.sql), and that no table is missing"


async def examine(services: Mapping[str, DatabaseSettings], secrets: SecretSource) -> list[Finding]:
    """Return what was found for these services; raises SettingsError when the file of the authority is of no use."""
    settings = next(iter(services.values()))
    at = f"{settings.host}:{settings.port}/{settings.name} as {settings.user}"
    async with postgres_connector.open_pool(dataclasses.replace(settings, pool_min_conn=0), secrets) as pool:
        options = {} if pool.kwargs is None or callable(pool.kwargs) else pool.kwargs
        try:
            connection = await pool.connection_class.connect("", **(options | {"autocommit": True}))
        except psycopg.Error as error:
            return [_unreachable(at, error)]
        async with connection:
            found = [_password(connection, secrets, at)]
            try:
                found += await _server(connection, services)
                found.append(await _schema(connection))
                if found[-1].state is not State.PROBLEM:
                    found += [await _partitions(connection), *await _rights(connection, services)]
            except psycopg.Error as error:
                found.append(problem("postgresql refuses", " ".join(str(error).split()), WHOLE))
            return found


def _unreachable(at: str, error: psycopg.Error) -> Finding:
    told = " ".join(str(error).split())
    if isinstance(error, psycopg.OperationalError) and postgres_connector.is_password_refused(error):
        remedy = "set DB_PASS_CURRENT to the one that holds, or ALTER ROLE: docs/operations/rotation.md"
        return problem("postgresql", f"{at}: refuses DB_PASS_CURRENT and DB_PASS_NEXT", remedy)
    return problem("postgresql", f"{at}: {told}", "start it, or mend DB_HOST, DB_PORT, DB_NAME, DB_TLS_ENABLED")


def _password(connection: AsyncConnection[Any], secrets: SecretSource, at: str) -> Finding:
    following = secrets.get("DB_PASS_NEXT")
    if following and connection.info.password == following != secrets.get("DB_PASS_CURRENT"):
        remedy = "end the rotation: make it DB_PASS_CURRENT (docs/operations/rotation.md)"
        return warning("postgresql", f"reached at {at} by DB_PASS_NEXT", remedy)
    return ok("postgresql", f"reached at {at}")


async def _server(connection: AsyncConnection[Any], services: Mapping[str, DatabaseSettings]) -> list[Finding]:
    version = connection.info.server_version
    shown = connection.info.parameter_status("server_version") or str(version)
    encoding = connection.info.parameter_status("server_encoding")
    cursor = await connection.execute(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " extract(epoch FROM clock_timestamp())::float8,"
        " current_setting('fsync'), current_setting('synchronous_commit')"
    )
    row = await cursor.fetchone()
    if row is None:
        raise MisconfiguredError("PostgreSQL does not show its settings")
    most, used, now, fsync, commit = row
    found = [
        ok("postgresql version", f"{shown}, {encoding}")
        if version >= OLDEST and encoding == "UTF8"
        else problem(
            "postgresql version", f"{shown}, {encoding}", "PostgreSQL 14 or newer and encoding UTF8 are needed"
        )
    ]
    if fsync != "on" or commit in {"off", "local"}:
        seen = f"fsync {fsync}, synchronous_commit {commit}"
        found.append(warning("commits", f"{seen}: a crash may lose audit rows", "ALTER SYSTEM SET … = on"))
    wanted = sum(each.pool_max_conn for each in services.values())
    seen = f"{used} in use of {most}; one instance of each service may take {wanted}"
    few = wanted > most
    found.append(
        warning("connections", seen, "raise max_connections, or lower DB_POOL_MAX_CONN")
        if few
        else ok("connections", seen)
    )
    drift = abs(now - time.time())
    if drift > CLOCK_WARNING:
        found.append(warning("clock of postgresql", f"{drift:.1f} s off", "let both machines use one time source"))
    return found


async def _schema(connection: AsyncConnection[Any]) -> Finding:
    try:
        found = await schema.check_schema(connection)
    except MisconfiguredError as error:
        return problem("schema", str(error), "python scripts/migrate.py")
    if found < schema.SCHEMA_VERSION:
        return warning("schema", f"version {found} of {schema.SCHEMA_VERSION}", "python scripts/migrate.py")
    if told := schema.ahead(found):
        return warning("schema", told, "upgrade this release: docs/operations/upgrade.md")
    return ok("schema", f"version {found}")


async def _partitions(connection: AsyncConnection[Any]) -> Finding:
    missing = await missing_partitions(connection, datetime.now(UTC).date())
    if missing:
        remedy = "python scripts/create_monthly_partitions.py (a running alerter makes them within the hour)"
        return problem("partitions", f"missing: {', '.join(missing)}", remedy)
    return ok("partitions", "from 90 days back to 3 months ahead")


async def _rights(connection: AsyncConnection[Any], services: Mapping[str, DatabaseSettings]) -> list[Finding]:
    found = []
    for service in services:
        lacking = []
        for thing, rights in RIGHTS.get(service, {}).items():
            named = f"{thing} {connection.info.dbname}" if thing == "DATABASE" else thing
            kind, _, name = named.rpartition(" ")
            for right in rights.split(", "):
                query = f"SELECT has_{kind.lower() or 'table'}_privilege(%s, %s)"
                row = await (await connection.execute(query.encode(), (name, right))).fetchone()
                if not row or not row[0]:
                    lacking.append(f"{right} on {named}")
        if lacking:
            remedy = (
                f"GRANT {lacking[0].replace(' on ', ' ON ')} TO {connection.info.user}; the schema's head lists all"
            )
            found.append(problem(f"rights of {service}", f"lacks {', '.join(lacking)}", remedy))
        else:
            found.append(ok(f"rights of {service}", "as needed"))
    return found
