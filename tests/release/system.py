"""This machine's system with a systemd of its own, below overlays: what is installed there vanishes with the test.

The network is this machine's, and so is /tmp; processes, services, users, the host's name and all folders that an
installation changes are the system's own, and no setting of the kernel can be changed from it. Nothing of this
machine's own services starts in it. Its cgroup is a new one below the root. It ends with the test, however that ends.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.harness.waiting import wait_for

# Lives outside of the system, from the first line to the last, and clears away what it leaves.
HOLDER = r"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$0"
mkdir "$0/cgroup"
mount -t cgroup2 cgroup2 "$0/cgroup"
own=$0/cgroup/mutt-test-$$
mkdir "$own"
(
    echo "$BASHPID" >"$own/cgroup.procs"
    exec setpriv --pdeathsig KILL unshare -C -i -u -p -f --kill-child bash -c "$1" "$0" "$3"
) >"$2" 2>&1 </dev/null &
echo $!
read -r _ || true
exec >/dev/null 2>&1 # whoever listened may be gone
kill -9 $! 2>/dev/null || true
for _ in $(seq 200); do
    find "$own" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ -d "$own" ] || exit 0
    sleep 0.05
done
"""
FIRST = r"""
set -e
for folder in opt etc usr/local var; do
    mkdir -p "$0/upper/$folder" "$0/scratch/$folder"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$0/upper/$folder,workdir=$0/scratch/$folder" "/$folder"
done
mkdir -p /opt/python # the Python of the tests, which may lie in a folder that is closed to the services' user
mount --bind "$1" /opt/python
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys # a booting systemd raises limits of the kernel, which are this machine's
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for wants in /lib/systemd/system/*.wants; do mount -t tmpfs tmpfs "$wants"; done
rm -rf /etc/systemd/system/*.wants
: >/etc/fstab
mkdir -p /run/lock /run/systemd/system/sysinit.target.wants
cd /run/systemd/system
ln -s /lib/systemd/system/systemd-journald.service sysinit.target.wants
none="tmp.mount systemd-remount-fs.service systemd-journald-dev-log.socket systemd-journald-audit.socket"
for unit in $none postgresql.service redis.service; do ln -s /dev/null "$unit"; done
cd /
exec env -i container=lxc PATH="$PATH" /lib/systemd/systemd --system --unit=basic.target
"""
NAMESPACES = ("-m", "-p", "-C", "-i", "-u")
IN_FOLDER = 'cd "$0" && exec "$@"'
# The Python of this machine's packages comes first, where it is of the same version.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/python/bin"


class System:
    """That system, for as long as its first process lives; `root` leads into it from outside."""

    def __init__(self, first: int) -> None:
        self._first = first
        self.root = Path(f"/proc/{first}/root")

    def prefix(self, folder: Path | str = "/", *, network: bool = True) -> list[str]:
        """Return what has to stand in front of a command to run it there, in `folder`."""
        denied = [] if network else ["unshare", "-n"]
        return ["nsenter", "-t", str(self._first), *NAMESPACES, *denied, "sh", "-c", IN_FOLDER, str(folder)]

    def run(self, *command: str) -> str:
        """Run a command there and return what it printed, whatever its exit status."""
        done = subprocess.run(
            [*self.prefix(), *command], env={"PATH": PATH}, capture_output=True, text=True, check=False, timeout=120
        )
        return done.stdout + done.stderr

    def journal(self, unit: str) -> str:
        """Return what a unit has logged."""
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit)


@contextmanager
def booted_system(folder: Path) -> Iterator[System]:
    """Boot such a system with its changes in `folder`, in memory; skips where that is not possible."""
    folder.mkdir()
    log = folder.with_suffix(".log")
    with subprocess.Popen(
        ["unshare", "-m", "bash", "-c", HOLDER, str(folder), FIRST, str(log), sys.base_prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        try:
            started = holder.stdout.readline().strip()
            if not started:
                pytest.skip(f"no systemd can be booted here, which takes root and cgroups: {holder.stderr.read()}")
            yield System(_first_process(int(started), log))
        finally:
            holder.stdin.close()
            holder.wait(30)


def _first_process(parent: int, log: Path) -> int:
    """Return the process id of the system's systemd once it is up."""

    def look() -> int:
        try:
            (first,) = psutil.Process(parent).children() or (None,)
        except psutil.NoSuchProcess:
            pytest.skip(
                f"no systemd can be booted here, which takes root, overlayfs and systemd: {log.read_text('utf-8')}"
            )
        if first is None or first.name() != "systemd":
            return 0
        state = System(first.pid).run("systemctl", "is-system-running").strip()
        return first.pid if state in {"running", "degraded"} else 0

    return wait_for(look, "the system's systemd")
