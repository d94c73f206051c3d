"""The servers of a test run: one Redis and one PostgreSQL a worker, with a migrated template database."""

import itertools
import shutil
from pathlib import Path

import psycopg
from psycopg import sql

from scripts.devtools.embedded import PostgresServer
from scripts.migrate import migrate

TEMPLATE = "mutt_template"
USER = "mutt_user"
PASSWORD = "mutt-user-password"  # of a server on the loopback that lives as long as the tests


class Databases:
    """Fresh databases on one server; each is a copy of the migrated template and belongs to `mutt_user`."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        self._template_made = False

    def create(self, *, migrated: bool = True) -> str:
        """Make a database and return its URL for `mutt_user`, its owner; an empty one when not `migrated`."""
        self._make_template()
        name = f"mutt_{next(self._numbers)}"
        template = TEMPLATE if migrated else "template0"
        self._as_superuser(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template), sql.Identifier(USER)
            )
        )
        return self.server.url(name, USER, PASSWORD)

    def drop(self, url: str) -> None:
        """Drop a database of `create`, whoever is still connected to it."""
        name = url.rsplit("/", 1)[1]
        self._as_superuser(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _make_template(self) -> None:
        if self._template_made:
            return
        self._as_superuser(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(USER), sql.Literal(PASSWORD))
        )
        self._as_superuser(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(TEMPLATE), sql.Identifier(USER))
        )
        migrate(self.server.url(TEMPLATE, USER, PASSWORD))
        self._template_made = True

    def _as_superuser(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(statement)


def open_folder(path: Path) -> Path:
    """Make `path` a folder that PostgreSQL's user may pass through, and return it."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o755)
    return path
