"""The archive as a whole: that it is the right one, what of it has become too old, and what the database lost of it."""

from datetime import UTC, date, datetime
from typing import Any

import msgspec
from psycopg import Connection

from scripts.archiving import parts
from scripts.archiving.archiver import Archiver
from scripts.archiving.errors import ArchiveError
from scripts.archiving.files import MANIFEST
from scripts.archiving.months import Month, partitions_of
from scripts.archiving.parts import Part
from scripts.archiving.searching import manifests
from scripts.archiving.store import MARK, Store


def check_store(connection: Connection[Any], store: Store) -> None:
    """Mark a new archive; raises ArchiveError when the database knows of parts and this is not where they are."""
    try:
        store.read(MARK)
    except FileNotFoundError:
        if any(part.state == "archived" for part in parts.all_parts(connection)):
            raise ArchiveError(
                f"{store.words} holds no {MARK}, and the table archives names parts in it: is it mounted, is it the "
                "right one? Where the archive was moved, move that file too"
            ) from None
        with store.writing(MARK) as sink:
            sink.write(msgspec.json.encode({"what": "MUTT's archive of event_audit_log and delivery_log"}))


def check_mark(store: Store) -> None:
    """Raise ArchiveError where there is no archive: an unmounted folder would hold nothing that anybody looks for."""
    try:
        store.read(MARK)
    except FileNotFoundError:
        raise ArchiveError(
            f"{store.words} holds no {MARK}: is it mounted, is it the right one? Nothing was archived there"
        ) from None


def expire(archiver: Archiver, years: int, today: date) -> None:
    """Remove the files of each part whose month ended this many years ago; config_audit_log has none."""
    for part in parts.all_parts(archiver.connection):
        if is_due(part, years, today):
            archiver.store.remove(part.location, MANIFEST)
            archiver.done.expired.append(archiver.moved(part, "expired"))
            archiver.listener.says(f"{part}: older than {years} years, removed")


def is_due(part: Part, years: int, today: date) -> bool:
    """Tell whether a part's month ended this many years ago, and is not restored."""
    end = Month.of(part.month).end
    too_old = (end.year + years, end.month, end.day) <= (today.year, today.month, today.day)
    return too_old and part.state == "archived" and part.restored_until is None


def adopt(archiver: Archiver) -> list[Part]:
    """Enter the parts that lie in the archive and are not in the table: of a database that was lost and made anew."""
    known = {part.location for part in parts.all_parts(archiver.connection)}
    attached = {name for _table, _month, name in partitions_of(archiver.connection)}
    adopted = []
    for folder, manifest in manifests(archiver.store):
        if folder in known:
            continue
        month = date.fromisoformat(f"{manifest.month}-01")
        new = Part(manifest.table, month, 0, "writing", f"{manifest.table}_{month:%Y_%m}", folder)
        with archiver.connection.transaction():
            part = parts.add(archiver.connection, new)
            content = manifest.content()
            part = archiver.moved(
                part,
                "archived",
                rows=content.rows,
                bytes=manifest.bytes,
                checksum=str(content.checksum),
                first_at=content.first_at,
                last_at=content.last_at,
                # A backup brought its rows back: only what is not in the archive is archived again.
                restored_until=datetime.now(UTC) if new.partition in attached else None,
            )
        adopted.append(part)
        archiver.listener.says(f"{part}: entered, {part.rows} rows at {folder}")
    return adopted
