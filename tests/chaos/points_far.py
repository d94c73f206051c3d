"""The register of steps, second part: the console and the archive."""

from tests.chaos.points_step import Step


def console_steps() -> list[Step]:
    """Return what the console does: changes with their records, and dead letters."""
    queries, table_paths = "services.web_ui.queries:Queries", ("rules",)
    tables = {"alert_rules": "rule", "development_hosts": "host", "device_teams": "team"}
    rows = [
        Step(f"console.{word}.{verb.lower()}", f"{verb} {table}", f"{queries}.{method}", table_paths)
        for table, word in tables.items()
        for verb, method in (("INSERT", "fetch"), ("UPDATE", "fetch"), ("DELETE", "delete"))
        if (table, verb) != ("development_hosts", "UPDATE")  # a host has nothing that could change
    ]
    moves, config = "services.web_ui.dead_moves:DeadMoves", "services.web_ui.stored_config:StoredConfig.replace"
    record = ("INSERT config_audit_log", "services.audit_logger:record_config_change")
    commit = ("COMMIT", "services.postgres_connector:transaction")
    return [
        *rows,
        Step("console.record", *record, table_paths),
        Step("console.commit", *commit, table_paths, ("Context.change",)),
        Step("console.announce", "PUBLISH", "services.web_ui.context:Context.announce", table_paths),
        Step("console.config.record", *record, ("config",), (config,)),
        Step("console.config.set", "pipeline", config, ("config",)),
        Step("console.config.commit", *commit, ("config",), (config,)),
        Step("console.letters.record", *record, ("console",), (f"{moves}._move",)),
        Step("console.letters.move", "lua take", f"{moves}._run", ("console",)),
        Step("console.letters.forget", "pipeline", "services.web_ui.unrecorded:forget", ("console", "late-record")),
        Step("console.late.record", *record, ("late-record",), ("services.web_ui.unrecorded:write_what_is_left",)),
        Step("console.late.commit", *commit, ("late-record",), ("services.web_ui.unrecorded:write_what_is_left",)),
        Step("console.letters.commit", *commit, ("console",), (f"{moves}._move",)),
        Step("console.rates", "SET", "services.web_ui.api.rates:show_metrics", ("console",)),
        Step("console.sign-out", "SET", "services.web_ui.ended_sessions:EndedSessions._ask", ("console",)),
    ]


def archive_steps() -> list[Step]:
    """Return what takes months out of the database, and back."""
    store, archiver = "scripts.archiving.store", "scripts.archiving.archiver:Archiver"
    restorer, keeping = "scripts.archiving.restoring:Restorer", "scripts.archiving.keeping"

    def step(name: str, effect: str, site: str, *paths: str, via: str = "") -> Step:
        return Step(f"archive.{name}", effect, site, paths, tuple(via.split()))

    writers = {"mark": f"{keeping}:check_store", "rows": "Writer._file", "manifest": "write_manifest"}
    files = [
        step(f"{name}.{effect}", f"file {effect}", f"{store}:FolderStore.writing", "archive", via=via)
        for name, via in writers.items()
        for effect in ("mkdir", "open", "fsync", "replace")
    ]
    noted = {
        "written": ("_write", "archive"),
        "verified": ("_verify", "archive"),
        "late": ("_settle", "rewrite"),
        "goes-on": ("finish", "rewrite"),
        "added": ("_settle_added", "release"),
        "detached": (f"_detach {archiver}._detach.<locals>.detach", "archive"),
        "dropped": ("_dropped", "archive"),
    }
    return [
        *files,
        *(step(f"{name}.sync", "file fsync", f"{store}:_sync", "archive", via=via) for name, via in writers.items()),
        step("remove.file", "file delete", f"{store}:_ArrowStore.remove", "expire", "rewrite"),
        step("remove.folder", "file rmdir", f"{store}:FolderStore._remove_folder", "expire", "rewrite"),
        step("remove.sync", "file fsync", f"{store}:_sync", "expire", "rewrite", via="FolderStore._remove_folder"),
        step("reserved", "INSERT archives", "scripts.archiving.parts:add", "archive", via=f"{archiver}.archive"),
        step(
            "reserved.added",
            "INSERT archives",
            "scripts.archiving.parts:add",
            "release",
            via="Archiver._detach.<locals>.detach",
        ),
        step("adopted", "INSERT archives", "scripts.archiving.parts:add", "adopt", via=f"{keeping}:adopt"),
        step("adopted.known", "UPDATE archives", "scripts.archiving.parts:change", "adopt", via=f"{keeping}:adopt"),
        step("adopted.commit", "COMMIT", f"{keeping}:adopt", "adopt"),
        *(
            step(name, "UPDATE archives", "scripts.archiving.parts:change", path, via=f"{archiver}.{via}")
            for name, (via, path) in noted.items()
        ),
        step(
            "detached.again", "UPDATE archives", "scripts.archiving.parts:change", "rewrite", via=f"{archiver}._detach"
        ),
        step("expired", "UPDATE archives", "scripts.archiving.parts:change", "expire", via=f"{keeping}:expire"),
        step("detach", "ALTER TABLE DETACH", f"{archiver}._execute", "archive", via=f"{archiver}._detach"),
        step("detach.rename", "ALTER TABLE RENAME", f"{archiver}._detach.<locals>.detach", "archive"),
        step("detach.commit", "COMMIT", f"{archiver}.briefly", "archive", via=f"{archiver}._detach"),
        step("drop", "DROP TABLE", f"{archiver}._execute", "archive", via=f"{archiver}._dropped"),
        step("drop.needless", "DELETE archives", "scripts.archiving.parts:drop", "release-unchanged"),
        step(
            "drop.forget",
            "UPDATE archives",
            "scripts.archiving.parts:forget_restored",
            "release",
            via=f"{archiver}._dropped",
        ),
        step("drop.commit", "COMMIT", f"{archiver}._dropped", "archive", "release"),
        step(
            "forget",
            "UPDATE archives",
            "scripts.archiving.parts:forget_restored",
            "release-unchanged",
            via=f"{archiver}.run",
        ),
        step("empty.detach", "ALTER TABLE DETACH", f"{archiver}._execute", "archive", via=f"{archiver}._drop_empty"),
        step("empty.attach", "SELECT mutt_attach_month", f"{archiver}._drop_empty.<locals>.drop", "not-empty"),
        step("empty.drop", "DROP TABLE", f"{archiver}._execute", "archive", via=f"{archiver}._drop_empty"),
        step("empty.commit", "COMMIT", f"{archiver}.briefly", "archive", "not-empty", via=f"{archiver}._drop_empty"),
        step("half-restored.drop", "DROP TABLE", f"{archiver}._execute", "rewrite", via=f"{archiver}.finish"),
        step("restore.create", "CREATE TABLE", f"{restorer}._execute", "restore"),
        step("restore.rows", "INSERT event_audit_log_MONTH", f"{restorer}._load", "restore"),
        step("restore.deliveries", "INSERT delivery_log_MONTH", f"{restorer}._load", "restore"),
        step("restore.rows.commit", "COMMIT", f"{restorer}._load", "restore"),
        step("restore.check", "ALTER TABLE ADD", f"{restorer}._restore", "restore"),
        step("restore.late.detach", "ALTER TABLE DETACH", f"{restorer}._attach", "restore-late"),
        step("restore.late.rows", "INSERT event_audit_log_MONTH", f"{restorer}._attach", "restore-late"),
        step("restore.late.drop", "DROP TABLE", f"{restorer}._attach", "restore-late"),
        step("restore.rename", "ALTER TABLE RENAME", f"{restorer}._attach", "restore"),
        step("restore.attach", "SELECT mutt_attach_month", f"{restorer}._attach", "restore"),
        step("restore.uncheck", "ALTER TABLE DROP", f"{restorer}._attach", "restore"),
        step("restore.noted", "UPDATE archives", f"{restorer}._note", "restore"),
        step("restore.commit", "COMMIT", f"{archiver}.briefly", "restore", "restore-late", via=f"{restorer}._restore"),
    ]
