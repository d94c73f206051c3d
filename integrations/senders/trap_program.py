"""The command line of mutt-trap --drain."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from integrations.senders.client import say
from integrations.senders.drain import SeveritiesError, drain
from integrations.senders.settings import DEFAULT_FILE, SettingsError
from integrations.senders.trap_spool import DEFAULT_SPOOL

EX_CONFIG = 78


def main(arguments: Sequence[str]) -> int:
    """Run until the end; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mutt-trap",
        description="Keeps a trap of snmptrapd's (traphandle) in a folder; with --drain hands those kept to MUTT.",
    )
    parser.add_argument("--spool", default=DEFAULT_SPOOL, help="the folder, of snmptrapd's user")
    parser.add_argument("--drain", action="store_true", help="hand over what waits and what comes")
    parser.add_argument("--once", action="store_true", help="with --drain: end when nothing waits")
    parser.add_argument("--settings", default=DEFAULT_FILE, help="file with MUTT_URL and MUTT_API_KEY, mode 0600")
    parser.add_argument("--mibs", help="a folder of MIBs beside net-snmp's own")
    parser.add_argument("--severities", help="a file of lines: OID or its beginning, severity 0 to 7")
    options = parser.parse_args(arguments)
    try:
        drain(options.spool, options.settings, options.mibs, options.severities, once=options.once)
    except (SettingsError, SeveritiesError) as error:
        say(str(error))
        return EX_CONFIG
    except OSError as error:
        say(f"mutt-trap ends: {error}")
        return 1
    return 0
