"""/help: keys, words and runbooks; it needs neither Redis nor PostgreSQL."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.web_ui.pages.frame import PageViewer, render

SHORTCUTS = (
    (("/",), "search"),
    (("g", "d"), "dashboard"),
    (("g", "e"), "events"),
    (("g", "u"), "unhandled"),
    (("g", "l"), "dead letters"),
    (("g", "r"), "rules"),
    (("g", "h"), "hosts and teams"),
    (("g", "c"), "configuration"),
    (("g", "a"), "changes"),
    (("g", "s"), "SLO"),
    (("j", "k"), "next and previous row"),
    (("x",), "select the row"),
    (("Shift", "x"), "select up to the row"),
    (("e",), "edit the row, or what the page shows"),
    (("p",), "pause what is live"),
    (("Ctrl", "Enter"), "dry run, or check the edit of a dead letter"),
    (("Ctrl", "S"), "review and save"),
    (("Esc",), "leave the field, keeping what was typed"),
    (("?",), "this page"),
)

WORDS = (
    ("Event", "what a sender told: a syslog line or an SNMP trap, with an id of its own"),
    ("Rule", "says how events that match are handled, and by which team; highest priority first, the first match wins"),
    ("Handling", "Page and ticket, Ticket only, Email only go to Moogsoft; Log only and Suppress stay here"),
    ("Audit", "one row for each event: what came, which rule in which version took it, and what was done"),
    ("Unhandled", "what no rule matched, gathered by pattern; past a threshold a pattern raises an alert of its own"),
    ("Dead letter", "an alert or event that was given up, with the reason; it waits here until somebody acts"),
    ("Poison", "a dead letter that remediation replayed in vain; it is left for a person"),
    ("Quarantine", "what a sender sent in a form that is no event"),
    ("Circuit", "CLOSED: alerts flow. OPEN: Moogsoft failed too often, nothing is sent. HALF_OPEN: one probe is out"),
    ("Burn rate", "how fast the error budget is spent: at 1 it lasts exactly as long as the window"),
)

RUNBOOKS = (
    (
        "senders",
        "Send events",
        (
            (
                "One address for all",
                "POST /api/v2/ingest on the ingestor's port: a JSON object, an array, or an object a line; gzip too.",
            ),
            ("The key", "X-API-KEY: KEY, Authorization: Bearer KEY, Splunk KEY, or Basic with KEY as the password."),
            (
                "rsyslog",
                'module omhttp: server, serverport, restpath="api/v2/ingest", httpheaders=["X-API-KEY: KEY"]; JSON.',
            ),
            ("syslog-ng", 'destination http(): url(), headers("X-API-KEY: KEY"), body("$(format-json ...)").'),
            ("Fluent Bit", "output http: Format json_lines, URI /api/v2/ingest, Header X-API-KEY KEY."),
            ("Vector", "sink http: encoding.codec json, request.headers.X-API-KEY KEY."),
            ("snmptrapd", "traphandle with a script that posts trap_oid, hostname and message."),
            ("503 and no answer", "Send the same again; an event with a correlation_id is not doubled by that."),
        ),
    ),
    (
        "redis",
        "Redis is down",
        (
            ("Ask Redis itself", "redis-cli -h HOST PING, with the host of REDIS_HOST."),
            ("If it says LOADING, wait", "It reads its file. Restarting it starts over."),
            ("If it is silent, start it or fail over", "Senders get 503 and send again; workers hold what they took."),
            ("Then watch the dashboard", "Workers resume within 5 s. Restart none of them."),
        ),
    ),
    (
        "postgres",
        "PostgreSQL is down",
        (
            ("Pages go out", "After 15 s alerts go ahead of their audit rows, which wait in Redis."),
            ("Ask PostgreSQL itself", "psql -h HOST -c 'SELECT 1', with the host of DB_HOST."),
            ("Watch Redis's memory", "Each event that waits for its audit needs room there."),
            ("When it is back", "The rows are written by themselves; audit pending falls to 0."),
        ),
    ),
    (
        "circuit",
        "The circuit is OPEN",
        (
            (
                "Read the forwarder's /health",
                "It names the last answer: an error of Moogsoft, a refused key, a timeout.",
            ),
            ("401, 403 or 404", "The key or the address is wrong: renew MOOG_API_KEY, or correct MOOG_WEBHOOK_URL."),
            ("5xx or a timeout", "Moogsoft is ill: tell its owner. One probe a minute tries by itself."),
            (
                "Nothing is lost",
                "Alerts wait in the alert queue; past its threshold the least urgent are shed to dead letters.",
            ),
        ),
    ),
    (
        "queues",
        "A queue grows",
        (
            (
                "Ingest queue",
                "Alerters are too few, or PostgreSQL is slow: look at Services, then start more alerters.",
            ),
            ("Alert queue", "Moogsoft takes less than comes: raise moog_rate_limit, or make a loud rule quieter."),
            (
                "Find the loudest",
                "The dashboard lists rules by handling and count; a dry run shows what a change would do.",
            ),
        ),
    ),
    (
        "dead",
        "Dead letters gather",
        (
            ("Group them", "Dead letters groups them by error, and names a change that came just before the first."),
            ("Mend the cause first", "Revert the rule, or correct the team; a replay before that fails again."),
            ("Replay", "Select the group and replay; each row shows its own outcome."),
        ),
    ),
    (
        "services",
        "A service is late or gone",
        (
            ("Read its log", "journalctl -u mutt-alerter, or kubectl logs; muttdev logs on a developer's machine."),
            ("Nothing is lost", "What it held goes back to the queue once its heartbeat has ended."),
            ("Start another", "Any number may run side by side; each takes its share."),
        ),
    ),
    (
        "secrets",
        "Secrets are not current",
        (
            ("MUTT goes on", "It uses what it holds until that is refused."),
            ("Ask Vault", "Is it sealed, is the path right, has the AppRole's secret id ended?"),
            ("When Vault is back", "The secrets are read again by themselves, at the latest at the next check."),
        ),
    ),
)

router = APIRouter(include_in_schema=False)


@router.get("/help")
async def help_page(request: Request, _user: PageViewer) -> Response:
    """Show the help."""
    return await render(request, "help.html", {"shortcuts": SHORTCUTS, "words": WORDS, "runbooks": RUNBOOKS})
