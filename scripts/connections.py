"""How the scripts find servers: an address on the command line, else the services' own variables and secrets."""

import asyncio
from collections.abc import Mapping

import psycopg
from psycopg.conninfo import make_conninfo

from mutt.server_settings import DatabaseSettings, VaultSettings
from mutt.settings import LogSettings
from mutt.variables import read
from services.logging_utils import configure
from services.postgres_connector import connection_options, is_password_refused
from services.runtime.secrets import SecretSource, open_secrets

DATABASE_HELP = "PostgreSQL as a postgresql:// URL (default: DATABASE_URL, else the DB_ variables of the services)"


def database_url(given: str | None, environ: Mapping[str, str]) -> str:
    """Return a libpq connection string; raises MuttError that names the setting at fault."""
    url = given or environ.get("DATABASE_URL")
    if url:
        return url
    secrets = asyncio.run(script_secrets(environ))
    options = connection_options(read(DatabaseSettings, environ), secrets)
    del options["options"]  # a service's statements have to be short, a new index on a year of events may not be
    following = secrets.get("DB_PASS_NEXT")
    if following and _is_refused(make_conninfo(**options)):
        options["password"] = following
    return make_conninfo(**options)


async def script_secrets(environ: Mapping[str, str]) -> SecretSource:
    """Return the secrets as the services read them; logs go to stderr and say only what is wrong."""
    configure(LogSettings(level="WARNING"), "script")
    return await open_secrets(read(VaultSettings, environ), environ)


def _is_refused(conninfo: str) -> bool:
    """Tell whether the current password is refused, as in the middle of a rotation; all else shows at its use."""
    try:
        psycopg.connect(conninfo).close()
    except psycopg.OperationalError as error:
        return is_password_refused(error)
    return False
