-- MUTT: who changed which rule, host, team, setting or dead letter, and from what to what. Kept for ever.
--
-- Second of three files; see mutt_schema_v2.1.sql. A change and its row here commit in one transaction.

CREATE TABLE IF NOT EXISTS config_audit_log (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at      timestamptz NOT NULL DEFAULT now(),
    changed_by      text        NOT NULL CHECK (changed_by <> ''),
    operation       text        NOT NULL CHECK (operation <> ''),
    table_name      text        NOT NULL CHECK (table_name <> ''),
    record_id       text,
    old_values      jsonb,
    new_values      jsonb,
    reason          text,
    correlation_id  uuid
);
-- Each list is read newest first, so every index but the two point look-ups carries the time behind its column.
CREATE INDEX IF NOT EXISTS idx_config_audit_changed_at ON config_audit_log (changed_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_config_audit_table_name ON config_audit_log (table_name, changed_at DESC);
CREATE INDEX IF NOT EXISTS idx_config_audit_operation ON config_audit_log (operation, changed_at DESC);
CREATE INDEX IF NOT EXISTS idx_config_audit_changed_by ON config_audit_log (changed_by, changed_at DESC);
CREATE INDEX IF NOT EXISTS idx_config_audit_correlation_id ON config_audit_log (correlation_id);
CREATE INDEX IF NOT EXISTS idx_config_audit_record_id ON config_audit_log (record_id);
COMMENT ON COLUMN config_audit_log.changed_by IS 'Name of a user or of an API key, never a piece of the key.';
COMMENT ON COLUMN config_audit_log.record_id IS 'What was changed in table_name: a rule''s id, a hostname, a dynamic key, an event_id.';
