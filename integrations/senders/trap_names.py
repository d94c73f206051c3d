"""Names of OIDs: the standard ones built in, all else by the MIBs at hand, if net-snmp's snmptranslate is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable

OID = re.compile(r"[0-2](?:\.[0-9]{1,10}){1,127}")
AT_ONCE = 200  # OIDs that one snmptranslate is asked for
CACHED_MOST = 50_000
SECONDS = 30.0  # for one snmptranslate, which reads all MIBs first
UP_DOWN = {1: "up", 2: "down", 3: "testing", 4: "unknown", 5: "dormant", 6: "notPresent", 7: "lowerLayerDown"}

# Notifications with the syslog severity of each.
TRAPS = {
    "1.3.6.1.6.3.1.1.5.1": ("SNMPv2-MIB::coldStart", 4),
    "1.3.6.1.6.3.1.1.5.2": ("SNMPv2-MIB::warmStart", 5),
    "1.3.6.1.6.3.1.1.5.3": ("IF-MIB::linkDown", 3),
    "1.3.6.1.6.3.1.1.5.4": ("IF-MIB::linkUp", 5),
    "1.3.6.1.6.3.1.1.5.5": ("SNMPv2-MIB::authenticationFailure", 4),
    "1.3.6.1.6.3.1.1.5.6": ("RFC1213-MIB::egpNeighborLoss", 4),
    "1.3.6.1.2.1.14.16.2.2": ("OSPF-TRAP-MIB::ospfNbrStateChange", 4),
    "1.3.6.1.2.1.15.0.1": ("BGP4-MIB::bgpEstablishedNotification", 5),
    "1.3.6.1.2.1.15.0.2": ("BGP4-MIB::bgpBackwardTransNotification", 3),
    "1.3.6.1.2.1.15.7.1": ("BGP4-MIB::bgpEstablished", 5),
    "1.3.6.1.2.1.15.7.2": ("BGP4-MIB::bgpBackwardTransition", 3),
    "1.3.6.1.2.1.16.0.1": ("RMON-MIB::risingAlarm", 4),
    "1.3.6.1.2.1.16.0.2": ("RMON-MIB::fallingAlarm", 5),
    "1.3.6.1.2.1.17.0.1": ("BRIDGE-MIB::newRoot", 5),
    "1.3.6.1.2.1.17.0.2": ("BRIDGE-MIB::topologyChange", 5),
    "1.3.6.1.2.1.33.2.1": ("UPS-MIB::upsTrapOnBattery", 3),
    "1.3.6.1.2.1.47.2.0.1": ("ENTITY-MIB::entConfigChange", 5),
    "1.3.6.1.4.1.318.0.1": ("PowerNet-MIB::communicationLost", 3),
    "1.3.6.1.4.1.318.0.5": ("PowerNet-MIB::upsOnBattery", 3),
    "1.3.6.1.4.1.318.0.8": ("PowerNet-MIB::communicationEstablished", 5),
    "1.3.6.1.4.1.318.0.9": ("PowerNet-MIB::powerRestored", 5),
    "1.3.6.1.4.1.8072.4.0.1": ("NET-SNMP-AGENT-MIB::nsNotifyStart", 5),
    "1.3.6.1.4.1.8072.4.0.2": ("NET-SNMP-AGENT-MIB::nsNotifyShutdown", 4),
    "1.3.6.1.4.1.8072.4.0.3": ("NET-SNMP-AGENT-MIB::nsNotifyRestart", 5),
}
# Objects whose instances traps carry.
OBJECTS = {
    "1.3.6.1.2.1.1.1": "SNMPv2-MIB::sysDescr",
    "1.3.6.1.2.1.1.2": "SNMPv2-MIB::sysObjectID",
    "1.3.6.1.2.1.1.3": "DISMAN-EVENT-MIB::sysUpTimeInstance",
    "1.3.6.1.2.1.1.4": "SNMPv2-MIB::sysContact",
    "1.3.6.1.2.1.1.5": "SNMPv2-MIB::sysName",
    "1.3.6.1.2.1.1.6": "SNMPv2-MIB::sysLocation",
    "1.3.6.1.2.1.2.2.1.1": "IF-MIB::ifIndex",
    "1.3.6.1.2.1.2.2.1.2": "IF-MIB::ifDescr",
    "1.3.6.1.2.1.2.2.1.3": "IF-MIB::ifType",
    "1.3.6.1.2.1.2.2.1.5": "IF-MIB::ifSpeed",
    "1.3.6.1.2.1.2.2.1.6": "IF-MIB::ifPhysAddress",
    "1.3.6.1.2.1.2.2.1.7": "IF-MIB::ifAdminStatus",
    "1.3.6.1.2.1.2.2.1.8": "IF-MIB::ifOperStatus",
    "1.3.6.1.2.1.15.3.1.2": "BGP4-MIB::bgpPeerState",
    "1.3.6.1.2.1.15.3.1.7": "BGP4-MIB::bgpPeerRemoteAddr",
    "1.3.6.1.2.1.15.3.1.14": "BGP4-MIB::bgpPeerLastError",
    "1.3.6.1.2.1.31.1.1.1.1": "IF-MIB::ifName",
    "1.3.6.1.2.1.31.1.1.1.18": "IF-MIB::ifAlias",
}
ENUMERATIONS = {
    "1.3.6.1.2.1.2.2.1.7": UP_DOWN,
    "1.3.6.1.2.1.2.2.1.8": UP_DOWN,
    "1.3.6.1.2.1.15.3.1.2": {
        1: "idle",
        2: "connect",
        3: "active",
        4: "opensent",
        5: "openconfirm",
        6: "established",
    },
}


class Names:
    """What OIDs are called; `mibs` is a folder of MIBs beside net-snmp's own."""

    def __init__(self, mibs: str | None = None) -> None:
        self._program = shutil.which("snmptranslate")
        self._mibs = mibs
        self._known: dict[str, str] = {}

    def learn(self, oids: Iterable[str]) -> None:
        """Look all of these up that are not known, in as few calls as can be."""
        if self._program is None:
            return
        unknown = sorted({oid for oid in oids if OID.fullmatch(oid) and self._built_in(oid) is None} - set(self._known))
        if len(self._known) + len(unknown) > CACHED_MOST:
            self._known.clear()
        for start in range(0, len(unknown), AT_ONCE):
            some = unknown[start : start + AT_ONCE]
            found = self._ask(some)
            self._known.update(zip(some, found if len(found) == len(some) else [""] * len(some)))  # noqa: B905  # 3.9

    def name(self, oid: str) -> str:
        """Return `MODULE::name.instance`, or the OID itself."""
        return self._built_in(oid) or self._known.get(oid) or oid

    def _built_in(self, oid: str) -> str | None:
        if oid in TRAPS:
            return TRAPS[oid][0]
        column = column_of(oid)
        return None if column is None else OBJECTS[column] + oid[len(column) :]

    def _ask(self, oids: list[str]) -> list[str]:
        command = [self._program or "", "-m", "ALL", "-OS"]
        if self._mibs:
            command += ["-M", f"+{self._mibs}"]
        # MIBs that lack others make it write a page for each call; what it found is what counts.
        try:
            done = subprocess.run(
                [*command, *(f".{oid}" for oid in oids)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return []
        lines = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
        return ["" if line.startswith(("SNMPv2-SMI::", ".", "iso")) else line.strip() for line in lines]


def column_of(oid: str) -> str | None:
    """Return the known object that this is an instance of."""
    column = oid
    while column:
        if column in OBJECTS:
            return column
        column = column.rpartition(".")[0]
    return None


def enumerated(oid: str, number: int) -> str | None:
    """Return what a number of a known object means: `down(2)`."""
    words = ENUMERATIONS.get(column_of(oid) or "", {})
    return f"{words[number]}({number})" if number in words else None
