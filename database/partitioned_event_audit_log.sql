-- MUTT: the event audit log and the delivery log, both partitioned by month (UTC), and their upkeep.
--
-- Third of three files; see mutt_schema_v2.1.sql.

-- Columns of fixed width stand first: that saves the padding between them in every row.
CREATE TABLE IF NOT EXISTS event_audit_log (
    event_id         uuid        NOT NULL,
    correlation_id   uuid        NOT NULL,
    event_timestamp  timestamptz NOT NULL,
    received_at      timestamptz NOT NULL,
    audited_at       timestamptz NOT NULL DEFAULT now(),
    rule_id          integer,
    rule_version     integer,
    syslog_severity  smallint    CHECK (syslog_severity BETWEEN 0 AND 7),
    forwarded        boolean     NOT NULL,
    hostname         text        NOT NULL,
    message          text        NOT NULL,
    source           text,
    trap_oid         text,
    team             text        NOT NULL,
    handling         text        NOT NULL,
    environment      text        NOT NULL,
    raw              jsonb       NOT NULL DEFAULT '{}',
    PRIMARY KEY (event_id, event_timestamp)
) PARTITION BY RANGE (event_timestamp);
CREATE INDEX IF NOT EXISTS idx_event_audit_log_hostname ON event_audit_log (hostname, event_timestamp);
CREATE INDEX IF NOT EXISTS idx_event_audit_log_timestamp ON event_audit_log (event_timestamp, event_id);
CREATE INDEX IF NOT EXISTS idx_event_audit_log_correlation_id ON event_audit_log (correlation_id);
COMMENT ON COLUMN event_audit_log.rule_id IS 'The rule that matched, null when none did. No foreign key: deleting a rule keeps its audit rows.';
COMMENT ON COLUMN event_audit_log.forwarded IS 'Owed to Moogsoft; delivery_log has what came of it.';
COMMENT ON COLUMN event_audit_log.raw IS 'What the sender sent that no column holds.';

-- Partitioned like the audit, because both grow with the events and leave the database by dropping a month:
-- deleting 90-day-old rows one by one would cost the server as much again as writing them.
-- There is no key: one alert has as many rows as attempts, and delivery never waits for this table.
CREATE TABLE IF NOT EXISTS delivery_log (
    event_id  uuid        NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    attempt   integer     NOT NULL,
    status    integer,
    outcome   text        NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX IF NOT EXISTS idx_delivery_log_event_id ON delivery_log (event_id, at);
COMMENT ON COLUMN delivery_log.status IS 'HTTP status of the answer, null when there was none.';

-- Makes parent_YYYY_MM. It is built apart and then attached: CREATE TABLE … PARTITION OF would take ACCESS EXCLUSIVE
-- on the parent and queue every writer behind the slowest reader; ATTACH conflicts with neither.
CREATE OR REPLACE FUNCTION mutt_attach_month(parent regclass, month date) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    first_day timestamp := date_trunc('month', month::timestamp);
    partition text := (SELECT relname FROM pg_class WHERE oid = parent) || to_char(first_day, '_YYYY_MM');
    found regclass := to_regclass(format('public.%I', partition));
BEGIN
    IF found IS NULL THEN
        EXECUTE format('CREATE TABLE public.%I (LIKE %s INCLUDING ALL)', partition, parent);
    ELSIF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = found AND inhparent = parent) THEN
        RETURN partition;
    END IF;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', parent, partition,
                   first_day AT TIME ZONE 'UTC', (first_day + interval '1 month') AT TIME ZONE 'UTC');
    RETURN partition;
END
$$;
REVOKE ALL ON FUNCTION mutt_attach_month(regclass, date) FROM PUBLIC;

-- Makes the audit's partition for the month of the date, and the delivery log's beside it; returns the audit's name.
-- Safe to call at any time, by anybody who may execute it, from any number of sessions.
CREATE OR REPLACE FUNCTION create_monthly_partition(month date) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '2s'
SET timezone = 'UTC'
AS $$
DECLARE
    suffix text := to_char(month, '_YYYY_MM');
BEGIN
    IF month IS NULL OR month NOT BETWEEN date '2000-01-01' AND date '9999-12-31' THEN
        RAISE EXCEPTION 'no partition for %: the month must lie in the years 2000 to 9999', coalesce(month::text, 'null')
            USING ERRCODE = 'datetime_field_overflow';
    END IF;
    -- The usual case, both there already, takes no lock.
    IF 2 = (SELECT count(*) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE (inhparent, relname) IN (('event_audit_log'::regclass, 'event_audit_log' || suffix),
                                           ('delivery_log'::regclass, 'delivery_log' || suffix))) THEN
        RETURN 'event_audit_log' || suffix;
    END IF;
    PERFORM pg_advisory_xact_lock(1297437780, 1);  -- 'MUTT' in ASCII, 1 = partitions (2 = migrations)
    PERFORM mutt_attach_month('delivery_log', month);
    RETURN mutt_attach_month('event_audit_log', month);
END
$$;
REVOKE ALL ON FUNCTION create_monthly_partition(date) FROM PUBLIC;
COMMENT ON FUNCTION create_monthly_partition(date) IS 'Idempotent; any day of the month will do.';

-- From 90 days back to three months ahead; the alerter keeps it so, and makes any other month on demand.
DO $$
BEGIN
    PERFORM create_monthly_partition(month::date)
    FROM generate_series(date_trunc('month', (now() AT TIME ZONE 'UTC') - interval '90 days'),
                         (now() AT TIME ZONE 'UTC') + interval '3 months', interval '1 month') AS month;
END
$$;

INSERT INTO schema_version (version, name) VALUES (1, 'base') ON CONFLICT DO NOTHING;
