-- MUTT: rules, development hosts, teams, and the version of the schema.
--
-- First of three files. Load them in this order, as the role that is to own the tables, into the schema "public":
--     psql -v ON_ERROR_STOP=1 -f mutt_schema_v2.1.sql -f config_audit_schema.sql -f partitioned_event_audit_log.sql
-- or run scripts/migrate.py, which loads them and then applies database/migrations/ in order.
-- Loading a file again changes nothing. PostgreSQL 14 or newer.
--
-- The services need not own anything. A role of their own gets by with:
--     GRANT TEMPORARY ON DATABASE mutt_db TO mutt_service;  -- PUBLIC has it unless it was revoked
--     GRANT SELECT, INSERT ON event_audit_log, delivery_log TO mutt_service;
--     GRANT EXECUTE ON FUNCTION create_monthly_partition(date) TO mutt_service;
--     GRANT SELECT ON alert_rules, development_hosts, device_teams, schema_version TO mutt_service;
-- and the web UI's role, besides SELECT on event_audit_log, delivery_log and schema_version, with:
--     GRANT SELECT, INSERT, UPDATE, DELETE ON alert_rules, development_hosts, device_teams TO mutt_webui;
--     GRANT SELECT, INSERT ON config_audit_log TO mutt_webui;

CREATE TABLE IF NOT EXISTS schema_version (
    version     integer     PRIMARY KEY CHECK (version > 0),
    name        text        NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_version IS 'One row for each applied step; the highest version is the schema''s.';

-- Changes made by hand in psql count too: the version feeds If-Match, the caches and event_audit_log.rule_version.
CREATE OR REPLACE FUNCTION mutt_touch_rule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

-- Hostnames are kept, and unique, in the form in which events are compared: lower case, no trailing dot.
CREATE OR REPLACE FUNCTION mutt_normalise_hostname() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.hostname := lower(rtrim(NEW.hostname, '.'));
    IF TG_OP = 'UPDATE' THEN
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END
$$;

CREATE TABLE IF NOT EXISTS alert_rules (
    id               integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name             text,
    description      text,
    match_string     text        CHECK (match_string <> ''),
    trap_oid         text        CHECK (trap_oid ~ '^\.?[0-9]+(\.[0-9]+)*$'),
    syslog_severity  smallint    CHECK (syslog_severity BETWEEN 0 AND 7),
    match_type       text        NOT NULL CHECK (match_type IN ('contains', 'regex', 'oid_prefix')),
    priority         integer     NOT NULL CHECK (priority BETWEEN 1 AND 1000),
    prod_handling    text        NOT NULL
                     CHECK (prod_handling IN ('Page_and_ticket', 'Ticket_only', 'Email_only', 'Log_only')),
    dev_handling     text        NOT NULL
                     CHECK (dev_handling IN ('Ticket_only', 'Email_only', 'Log_only', 'Suppress')),
    team_assignment  text        NOT NULL CHECK (btrim(team_assignment) <> ''),
    is_active        boolean     NOT NULL DEFAULT true,
    version          integer     NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    -- A rule without a condition would match every event.
    CONSTRAINT alert_rules_condition_check CHECK (
        CASE WHEN match_type = 'oid_prefix' THEN trap_oid IS NOT NULL
             ELSE match_string IS NOT NULL OR syslog_severity IS NOT NULL END
    )
);
CREATE INDEX IF NOT EXISTS idx_alert_rules_is_active ON alert_rules (is_active);
CREATE INDEX IF NOT EXISTS idx_alert_rules_priority ON alert_rules (priority DESC, id);
CREATE OR REPLACE TRIGGER alert_rules_touch
    BEFORE UPDATE ON alert_rules FOR EACH ROW EXECUTE FUNCTION mutt_touch_rule();
COMMENT ON TABLE alert_rules IS 'Highest priority wins, ties go to the lowest id; every condition that is set must hold.';

CREATE TABLE IF NOT EXISTS development_hosts (
    id          integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hostname    text        NOT NULL CHECK (hostname <> '' AND length(hostname) <= 255),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT development_hosts_hostname_key UNIQUE (hostname)
);
CREATE OR REPLACE TRIGGER development_hosts_hostname
    BEFORE INSERT OR UPDATE ON development_hosts FOR EACH ROW EXECUTE FUNCTION mutt_normalise_hostname();
COMMENT ON TABLE development_hosts IS 'Events of these hosts get their rule''s dev_handling.';

CREATE TABLE IF NOT EXISTS device_teams (
    id               integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hostname         text        NOT NULL CHECK (hostname <> '' AND length(hostname) <= 255),
    team_assignment  text        NOT NULL CHECK (btrim(team_assignment) <> ''),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT device_teams_hostname_key UNIQUE (hostname)
);
CREATE OR REPLACE TRIGGER device_teams_hostname
    BEFORE INSERT OR UPDATE ON device_teams FOR EACH ROW EXECUTE FUNCTION mutt_normalise_hostname();
COMMENT ON TABLE device_teams IS 'The team that takes a host''s events, whatever the rule says.';
