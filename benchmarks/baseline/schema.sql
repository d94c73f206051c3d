-- The baseline's tables: the same data as MUTT's, with the indexes that the plain stack is specified with.
CREATE TABLE alert_rules (
    id               serial PRIMARY KEY,
    match_string     text,
    trap_oid         text,
    syslog_severity  integer,
    match_type       text NOT NULL,
    priority         integer NOT NULL,
    prod_handling    text NOT NULL,
    dev_handling     text NOT NULL,
    team_assignment  text NOT NULL,
    is_active        boolean NOT NULL DEFAULT true
);
CREATE TABLE event_audit_log (
    id               bigserial,
    event_timestamp  timestamptz NOT NULL,
    correlation_id   uuid NOT NULL,
    hostname         text NOT NULL,
    message          text NOT NULL,
    source           text,
    syslog_severity  smallint,
    rule_id          integer,
    handling         text NOT NULL,
    raw              jsonb NOT NULL,
    PRIMARY KEY (id, event_timestamp)
) PARTITION BY RANGE (event_timestamp);
CREATE INDEX ON event_audit_log (hostname);
CREATE INDEX ON event_audit_log (event_timestamp);
CREATE INDEX ON event_audit_log (correlation_id);
DO $$
BEGIN
    FOR month IN -1 .. 1 LOOP
        EXECUTE format(
            'CREATE TABLE event_audit_log_%s PARTITION OF event_audit_log FOR VALUES FROM (%L) TO (%L)', month + 1,
            date_trunc('month', now()) + month * interval '1 month', date_trunc('month', now()) + (month + 1) * interval '1 month');
    END LOOP;
END
$$;
