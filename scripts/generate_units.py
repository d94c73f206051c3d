"""Write systemd/: the five services, their templates for further instances, and what runs by the clock or once.

Each unit stands for itself, so that `systemctl cat` shows an operator all of it; what they share is written once, here.
A test compares the folder with what this command would write.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "systemd"
HEADER = "# Made by scripts/generate_units.py. To change a setting: systemctl edit {name}\n"
PYTHON = "/opt/mutt/venv/bin/python"

# What a service may do is talk to the network, read its code and write to its log; these take away the rest.
HARDENING = """\
NoNewPrivileges=true
ProtectSystem=strict
ProtectHome=true
ReadWritePaths=/opt/mutt /var/log/mutt{writable}
PrivateTmp=true
PrivateDevices=true
PrivateUsers=true
DevicePolicy=closed
ProtectClock=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectProc=invisible
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
LockPersonality=true
MemoryDenyWriteExecute=true
RemoveIPC=true
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
"""

SERVICE = """\
[Unit]
Description=MUTT {title}{which}
Documentation=file:///opt/mutt/docs/operations/install.md
After=network.target network-online.target redis.service postgresql.service
Wants=network-online.target redis.service postgresql.service
PartOf=mutt.target
# What a service needs may be away for hours: it is started again for as long as that takes.
StartLimitIntervalSec=0

[Service]
Type=simple
User=mutt
Group=mutt
WorkingDirectory=/opt/mutt
Environment="PATH=/opt/mutt/venv/bin:/usr/local/bin:/usr/bin"
Environment=PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
{environment}EnvironmentFile=/etc/mutt/mutt.env
{own_file}ExecStart={python} /opt/mutt/services/{entry}
# SIGHUP: {hangup}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=10s
# Python dies of a SIGHUP that comes before it hears any, which systemd takes for an end in order.
RestartForceExitStatus=SIGHUP
# A setting at fault (EX_CONFIG): a restart cannot help, and the last line of the log names the setting.
RestartPreventExitStatus=78
# MUTT_SHUTDOWN_GRACE (20 s) and some time for what comes after it: raise both together.
TimeoutStopSec=45s
KillMode=mixed
StandardOutput=journal
StandardError=journal
LogsDirectory=mutt
LogsDirectoryMode=0750

# Limits
MemoryHigh={memory_high}
MemoryMax={memory_max}
LimitNOFILE={files}
LimitCORE=0
TasksMax=256

# Security
{hardening}
[Install]
{wanted_by}WantedBy=multi-user.target
"""

ONCE = """\
[Unit]
Description=MUTT {title}
Documentation=file:///opt/mutt/docs/operations/{page}
After=network.target network-online.target postgresql.service
Wants=network-online.target

[Service]
Type=oneshot
User=mutt
Group=mutt
WorkingDirectory=/opt/mutt
Environment="PATH=/opt/mutt/venv/bin:/usr/local/bin:/usr/bin"
Environment=PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
EnvironmentFile=/etc/mutt/mutt.env
ExecStart={python} /opt/mutt/scripts/{script}
StandardOutput=journal
StandardError=journal
LogsDirectory=mutt
LogsDirectoryMode=0750
{folders}
# Limits
MemoryMax=1G
LimitNOFILE=4096
LimitCORE=0
TasksMax=64

# Security
{hardening}"""

TARGET = """\
[Unit]
Description=MUTT: the services that are enabled on this machine
Documentation=file:///opt/mutt/docs/operations/install.md

[Install]
WantedBy=multi-user.target
"""

TIMER = """\
[Unit]
Description=MUTT: archive old events every night
Documentation=file:///opt/mutt/docs/operations/retention.md

[Timer]
OnCalendar=*-*-* 02:30:00 UTC
RandomizedDelaySec=30min
Persistent=true

[Install]
WantedBy=timers.target
"""


@dataclass(frozen=True)
class Unit:
    """One of the five services; `ports` are its variables with the last two digits of the documented port."""

    name: str
    title: str
    entry: str
    memory: tuple[str, str] = ("768M", "1G")
    files: int = 16_384
    ports: dict[str, str] = field(default_factory=dict)
    hangup: str = "the secrets are read again"


UNITS = (
    Unit(
        "ingestor",
        "ingestor: takes events over HTTP",
        "ingestor_service.py",
        ("1536M", "2G"),
        65_536,
        {"SERVER_PORT_INGESTOR": "80"},
    ),
    Unit(
        "alerter",
        "alerter: matches events against the rules",
        "alerter_service.py",
        ("1536M", "2G"),
        ports={"METRICS_PORT_ALERTER": "81", "HEALTH_PORT_ALERTER": "82"},
        hangup="rules, hosts, teams and secrets are read again",
    ),
    Unit(
        "moog-forwarder",
        "forwarder: delivers alerts to Moogsoft",
        "moog_forwarder_service.py",
        ports={"METRICS_PORT_MOOG": "83", "HEALTH_PORT_MOOG": "84"},
    ),
    Unit("webui", "console and API", "web_ui_service.py", ports={"SERVER_PORT_WEBUI": "90"}),
    # No ports for instances: it is to be one, and a second would only stand by.
    Unit("remediation", "remediation: replays dead letters", "remediation_service.py"),
)


def service(unit: Unit, *, template: bool) -> str:
    """Return the text of a service's unit, or of the template for its further instances."""
    environment = [f"Environment=POD_NAME=%H-%p{'-%i' if template else ''}"]
    if template:
        environment += [f"Environment={variable}=1%i{digits}" for variable, digits in unit.ports.items()]
        environment.insert(
            0, f"# Instance 12 listens on {', '.join(f'112{digits}' for digits in unit.ports.values())}."
        )
    return SERVICE.format(
        title=unit.title,
        which=" (instance %i)" if template else "",
        environment="".join(f"{line}\n" for line in environment),
        own_file="EnvironmentFile=-/etc/mutt/%p@%i.env\n" if template else "",
        python=PYTHON,
        entry=unit.entry,
        hangup=unit.hangup,
        memory_high=unit.memory[0],
        memory_max=unit.memory[1],
        files=unit.files,
        hardening=HARDENING.format(writable=""),
        wanted_by="WantedBy=mutt.target\n",
    )


def once(title: str, page: str, script: str, folders: str = "", writable: str = "") -> str:
    """Return the text of a unit that runs a script and ends."""
    return ONCE.format(
        title=title,
        page=page,
        script=script,
        python=PYTHON,
        folders=folders,
        hardening=HARDENING.format(writable=writable),
    )


def units() -> dict[str, str]:
    """Return every file of systemd/ by its name."""
    found = {f"mutt-{unit.name}.service": service(unit, template=False) for unit in UNITS}
    found |= {f"mutt-{unit.name}@.service": service(unit, template=True) for unit in UNITS if unit.ports}
    found["mutt-migrate.service"] = once("schema: brings the database to this release's", "upgrade.md", "migrate.py")
    found["mutt-archive.service"] = once(
        "archive: moves old events to files",
        "retention.md",
        "archive_old_events.py",
        "StateDirectory=mutt/archive\nStateDirectoryMode=0750\n",
        " /var/lib/mutt",
    )
    found |= {"mutt-archive.timer": TIMER, "mutt.target": TARGET}
    return {name: HEADER.format(name=name) + text for name, text in found.items()}


def main() -> int:
    """Write the files; none that this command does not make stays."""
    FOLDER.mkdir(exist_ok=True)
    wanted = units()
    for path in FOLDER.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
