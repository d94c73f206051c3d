"""What can be seen on this machine alone: settings, libraries, files, limits, and the services' own ports."""

import asyncio
import re
import resource
import ssl
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import aiohttp

from mutt.errors import SettingsError
from mutt.findings import Finding, complaints, nearly, ok, problem, warning
from mutt.server_settings import OwnTlsSettings, VaultSettings
from mutt.settings import SERVICES, CommonSettings, load
from mutt.variables import read, variables

TREE = Path(__file__).resolve().parent.parent.parent
LOCK = TREE / "requirements" / "runtime.txt"
FILES_LEAST = 4096  # open files; an ingestor with 2,000 senders needs half of it
FILES_REMEDY = "raise it: LimitNOFILE=65536 in the unit, or ulimit -n 65536 before the start"
PORTS = ("SERVER_PORT_", "METRICS_PORT_", "HEALTH_PORT_")
HEALTH_PORTS = ("SERVER_PORT_", "HEALTH_PORT_")
SECRETS = (
    *("INGEST_API_KEY", "INGEST_API_KEY_NEXT", "WEBUI_API_KEY", "WEBUI_API_KEY_NEXT", "WEBUI_API_KEYS", "MOOG_API_KEY"),
    *("REDIS_PASS_CURRENT", "REDIS_PASS_NEXT", "REDIS_SENTINEL_PASS", "DB_PASS_CURRENT", "DB_PASS_NEXT"),
)
PATIENCE = 3.0  # seconds for a service's own health


def settings_of(services: Sequence[str], environ: Mapping[str, str]) -> tuple[dict[str, CommonSettings], list[Finding]]:
    """Return the settings of each service that has possible ones, and what is to be said of all of them."""
    found, said = {}, []
    for name in services:
        try:
            found[name] = load(SERVICES[name], environ)
            said.append(ok(f"settings of {name}", "possible"))
        except SettingsError as error:
            said.append(problem(f"settings of {name}", str(error), "change these variables: docs/configuration.md"))
    known = {variable.name for service in SERVICES.values() for variable, _ in variables(service)} | set(SECRETS)
    known |= {f"{name}_FILE" for name in SECRETS}
    for name, meant in nearly(environ, known).items():
        said.append(warning(f"variable {name}", "nothing reads it", f"is {meant} meant? Then rename it"))
    return found, said


def libraries() -> Iterator[Finding]:
    """Compare what is installed with the lock file of the release."""
    seen = f"{sys.version.split()[0]} in {sys.prefix}"
    yield ok("python", seen)
    if not LOCK.exists():
        yield warning("libraries", f"{LOCK} is not there", "compare this tree with the release's")
        return
    wanted = re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^ ;\\]+)( ;[^\\]*)?", LOCK.read_text(encoding="utf-8"))
    wrong = []
    for name, version, marker in wanted:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            if not marker:
                wrong.append(f"{name} is missing")
        else:
            if installed != version and not marker:
                wrong.append(f"{name} {installed} instead of {version}")
    if wrong:
        remedy = f"{sys.executable} -m pip install --require-hashes -r {LOCK}, or install the release again"
        yield warning("libraries", "; ".join(wrong), remedy)
    else:
        yield ok("libraries", f"{len(wanted)} as locked")


def files(environ: Mapping[str, str], environment_file: Path | None) -> Iterator[Finding]:
    """Look at who may read what holds secrets, and at how many files a process may open."""
    secret = []
    if not environ.get("VAULT_ADDR"):  # with Vault nothing reads them
        secret = [(f"file of {name}", Path(environ[f"{name}_FILE"])) for name in SECRETS if environ.get(f"{name}_FILE")]
    if environment_file is not None:
        secret.append(("environment file", environment_file))
    try:
        vault = read(VaultSettings, environ)
        own = read(OwnTlsSettings, environ)
    except SettingsError:
        pass  # told with the settings
    else:
        if vault.addr:
            secret.append(("file of the secret id", Path(vault.secret_id_file)))
        if own.key_path:
            secret.append(("own private key", Path(own.key_path)))
    for what, path in secret:
        yield _private(what, path)
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = f"{least} (at most {most}) for this process"
    yield ok("open files", seen) if least >= FILES_LEAST else warning("open files", seen, FILES_REMEDY)


def _private(what: str, path: Path) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        with path.open("rb"):
            pass
    except OSError as error:
        remedy = "run this as the services' user; if it cannot be read by that one either: chown it to the user"
        return problem(what, f"{path}: {error.strerror}", remedy)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return problem(what, f"{path} is open to everybody (mode {mode:04o})", f"chmod o-rwx {path}")
    return ok(what, f"{path}, mode {mode:04o}")


async def ports(settings: Mapping[str, CommonSettings]) -> list[Finding]:
    """Ask each service that listens here how it is; a port that another program holds is a problem."""
    return list(await asyncio.gather(*(_service(name, each) for name, each in settings.items())))


async def _service(name: str, settings: CommonSettings) -> Finding:
    numbers = {
        item.name: value
        for field in type(settings).__dataclass_fields__.values()
        if (item := field.metadata.get("variable")) and item.name.startswith(PORTS)
        for value in [getattr(settings, field.name)]
    }
    variable, port = next((each, at) for each, at in numbers.items() if each.startswith(HEALTH_PORTS))
    host = "127.0.0.1" if settings.bind_host in {"", "0.0.0.0", "::"} else settings.bind_host  # noqa: S104
    own = getattr(settings, "tls", None)
    scheme = "https" if isinstance(own, OwnTlsSettings) and own.cert_path else "http"
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE  # its own port, asked for its health alone
    try:
        timeout = aiohttp.ClientTimeout(PATIENCE)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=anybody)) as session,
            session.get(f"{scheme}://{host}:{port}/health") as reply,
        ):
            body = await reply.json(content_type=None)
            service, status = str(body["service"]), str(body["status"])
    except aiohttp.ClientConnectorError:
        for each, at in numbers.items():
            if each != variable and await _answers(host, at):
                seen = f"does not run here, and another program holds {each}={at}"
                return problem(f"service {name}", seen, f"see who (ss -ltnp 'sport = :{at}'), or change {each}")
        return ok(f"service {name}", f"does not run here ({variable}={port} is free)")
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, OSError) as error:
        seen = f"{variable}={port} answers no health of MUTT ({type(error).__name__})"
        return problem(f"service {name}", seen, f"see who holds it (ss -ltnp 'sport = :{port}'), or change {variable}")
    if service != f"mutt-{name}":
        return problem(
            f"service {name}", f"{variable}={port} is held by {service}", f"change {variable} of one of them"
        )
    if status != "healthy":
        seen = f"unhealthy ({complaints(body)})"
        return problem(f"service {name}", seen, f"see its log: journalctl -u mutt-{name} -n 50")
    return ok(f"service {name}", f"healthy on port {port}")


async def _answers(host: str, port: int) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return True
    return False
