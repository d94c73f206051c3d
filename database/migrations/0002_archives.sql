-- MUTT: what has left the database for the archive, and a config_audit_log that nobody empties by mistake.
--
-- scripts/archive_old_events.py writes `archives` as the owner of the tables. The web UI reads it, to say on the Events
-- page which months are archived; its role needs, and gets here where it has the name of mutt_schema_v2.1.sql:
--     GRANT SELECT ON archives TO mutt_webui;

-- One row for each part of a month. A month has a further part for rows that came after the first was made.
CREATE TABLE IF NOT EXISTS archives (
    table_name      text        NOT NULL CHECK (table_name IN ('event_audit_log', 'delivery_log')),
    month           date        NOT NULL CHECK (month = date_trunc('month', month::timestamp)::date),
    part            integer     NOT NULL CHECK (part > 0),
    state           text        NOT NULL DEFAULT 'writing'
                    CHECK (state IN ('writing', 'written', 'verified', 'detached', 'archived', 'expired')),
    -- The table whose rows the part holds: the month's partition, or what that is called once it is detached.
    source          text        NOT NULL,
    location        text        NOT NULL,
    rows            bigint      CHECK (rows >= 0),
    bytes           bigint      CHECK (bytes >= 0),
    checksum        text,
    first_at        timestamptz,
    last_at         timestamptz,
    -- The source had been restored from the earlier parts: this one holds only what was added to it since.
    added           boolean     NOT NULL DEFAULT false,
    restored_until  timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, month, part),
    CONSTRAINT archives_described CHECK (
        state IN ('writing', 'detached') OR (rows IS NOT NULL AND bytes IS NOT NULL AND checksum IS NOT NULL)
    )
);
COMMENT ON TABLE archives IS 'One row for each part of an archived month; written by scripts/archive_old_events.py alone.';
COMMENT ON COLUMN archives.checksum IS 'Over the rows'' values; the manifest at the location says how.';
COMMENT ON COLUMN archives.restored_until IS 'The month is a partition again until then.';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'mutt_webui') THEN
        GRANT SELECT ON archives TO mutt_webui;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION mutt_keep_config_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of config_audit_log is refused: what was changed, and by whom, is kept for ever', TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE OR REPLACE TRIGGER config_audit_log_keep
    BEFORE DELETE OR TRUNCATE ON config_audit_log FOR EACH STATEMENT EXECUTE FUNCTION mutt_keep_config_audit();
