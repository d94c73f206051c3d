#!/bin/sh
# Installs MUTT from the bundle that this file lies in, without any network; later it switches between what is installed.
set -eu
umask 022

usage() {
    cat <<'TEXT'
usage: install.sh [COMMAND] [OPTIONS]

commands
  install             check the bundle, install it beside older releases and switch to it (the default)
  rollback [VERSION]  switch back to the release before, or to VERSION
  list                show what is installed; * is in use
  remove VERSION      delete a release that is not in use
  uninstall           stop the services; delete units and releases; keep configuration and logs

options
  --root DIR          work below DIR instead of /: no user is made and systemd is not called
  --python PATH       the Python to use (default: the first fitting one of PATH, /usr/bin and /usr/local/bin)
  --no-systemd        do not call systemctl
  --purge             with uninstall: delete configuration, secrets, logs and the user too
TEXT
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd -P)
root='' python='' systemd=yes purge=no action='' version=''
while [ $# -gt 0 ]; do
    case $1 in
    --root | --python)
        [ -n "${2:-}" ] || fail "$1 needs a value; see --help" # an empty one would mean the system itself
        if [ "$1" = --root ]; then root=${2%/}; else python=$2; fi
        shift
        ;;
    --no-systemd) systemd=no ;;
    --purge) purge=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    -*) fail "unknown option $1; see --help" ;;
    *)
        if [ -z "$action" ]; then action=$1; elif [ -z "$version" ]; then version=$1; else fail "too many words: $1"; fi
        ;;
    esac
    shift
done
action=${action:-install}
case $version in
*/* | .*) fail "$version is no name of a release; install.sh list shows what is there" ;; # a path would pass for another
esac

base=$root/opt/mutt
releases=$base/releases
configuration=$root/etc/mutt
logs=$root/var/log/mutt
units=$root/usr/local/lib/systemd/system

value() { sed -n "s/^$2=//p" "$1/RELEASE"; }
in_use() { basename "$(readlink "$base/$1" 2>/dev/null || true)"; }
of_this_system() { [ -z "$root" ]; }

systemctl_does() {
    if of_this_system && [ "$systemd" = yes ] && [ -d /run/systemd/system ]; then systemctl "$@"; fi
}

one_at_a_time() {
    mkdir -p "$base" 2>/dev/null || fail "$base cannot be made: run this as root, or with --root and a folder of yours"
    [ -w "$base" ] || fail "$base cannot be written: run this as root"
    if command -v flock >/dev/null; then
        exec 9>"$base/.lock"
        flock -n 9 || fail "another install.sh works on $base: wait for it to end"
    fi
}

check_bundle() {
    [ -f "$here/SHA256SUMS" ] && [ -d "$here/wheels" ] ||
        fail "$here is no bundle: unpack mutt-VERSION.tar and run the install.sh in it (an installed one only switches)"
    command -v sha256sum >/dev/null || fail "sha256sum is missing: install coreutils"
    damaged=$(cd "$here" && sha256sum --quiet -c SHA256SUMS 2>&1) ||
        fail "the bundle is damaged; fetch it again. sha256sum says:
$damaged"
    listed=$(wc -l <"$here/SHA256SUMS")
    found=$(find "$here" -type f ! -name SHA256SUMS | wc -l)
    [ "$listed" -eq "$found" ] || fail "the bundle holds $found files and SHA256SUMS lists $listed: fetch it again"
}

python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

find_python() {
    wanted=$(value "$here" python)
    machine=$(value "$here" machine)
    [ "$(uname -m)" = "$machine" ] || fail "the bundle is for $machine and this machine is $(uname -m)"
    libc=$(value "$here" glibc)
    have=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //')
    [ -n "$have" ] || fail "this system has no glibc, which the bundle's wheels need ($libc or newer)"
    oldest=$(printf '%s\n%s\n' "$libc" "$have" | sort -V | head -n 1)
    [ "$oldest" = "$libc" ] || fail "the bundle's wheels need glibc $libc or newer and this system has $have"
    seen=''
    if [ -n "$python" ]; then
        set -- "$python"
    else
        set -- "python$wanted" python3 "/usr/bin/python$wanted" "/usr/local/bin/python$wanted"
    fi
    for candidate; do
        path=$(command -v "$candidate" 2>/dev/null) || continue
        is=$(python_version "$path")
        seen="$seen $path ($is)"
        if [ "$is" = "$wanted" ]; then
            python=$path
            "$python" -c 'import venv' 2>/dev/null || fail "$python has no venv.
Debian, Ubuntu: apt install python$wanted-venv"
            return
        fi
    done
    fail "Python $wanted is needed, for which this bundle was made; found:${seen:- none}.
RHEL and its kin: dnf install python$wanted. Debian, Ubuntu: apt install python$wanted python$wanted-venv.
With another one (3.11 or newer) make a bundle for it: pythonX.Y scripts/make_release.py, or name it: --python PATH"
}

check_space() {
    free=$(df -Pk "$base" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge 400 ] || fail "the disk of $base has $free MB left and a release takes up to 400 MB"
}

make_user() {
    of_this_system || return 0
    getent group mutt >/dev/null || groupadd --system mutt
    getent passwd mutt >/dev/null ||
        useradd --system --gid mutt --home-dir /opt/mutt --no-create-home --shell /usr/sbin/nologin mutt
}

check_user_runs_python() {
    of_this_system && command -v runuser >/dev/null || return 0
    runuser -u mutt -- "$python" -c '' 2>/dev/null ||
        fail "the user mutt may not run $python (is a folder on its way closed?): name another one by --python PATH"
}

give() { # OWNER MODE PATH
    if of_this_system; then chown "$1" "$3"; fi
    chmod "$2" "$3"
}

build() {
    target=$releases/$version
    if [ -f "$target/RELEASE" ]; then
        say "$version is there already: looked after configuration and units only"
        return
    fi
    check_space
    # Under another name until all of it is there: what was interrupted is never taken for a release.
    staging=$releases/.$version.partial
    rm -rf "$staging" "$target"
    mkdir -p "$staging"
    trap 'rm -rf "$staging"' EXIT
    trap 'exit 1' INT TERM HUP
    cp -R "$here/tree/." "$staging"
    cp "$here/install.sh" "$here/mutt.env" "$staging"
    say "making the virtual environment with $python"
    "$python" -m venv --without-pip "$staging/venv" || fail "the virtual environment could not be made"
    say "installing $(find "$here/wheels" -name '*.whl' | wc -l) wheels of the bundle, each by its hash"
    # -I and --isolated: neither the caller's variables nor a pip.conf may lead to an index or to other packages.
    pip=$(find "$here/tools" -name 'pip-*.whl')/pip
    "$staging/venv/bin/python" -I "$pip" --isolated --disable-pip-version-check install --quiet \
        --no-index --no-cache-dir --find-links "$here/wheels" --require-hashes --only-binary :all: --no-deps \
        -r "$here/tree/requirements/runtime.txt" || fail "the wheels could not be installed: the lines above say why"
    for packages in "$staging"/venv/lib/python3*/site-packages; do
        # A running service goes on importing from its own release after a switch: no path of its leads by the links.
        cat >"$packages/mutt.pth" <<'TEXT'
import os, sys; tree = os.path.join(sys.prefix, os.pardir); sys.path[:] = dict.fromkeys(map(os.path.realpath, [*sys.path, tree]))
TEXT
    done
    "$staging/venv/bin/python" -I -m compileall -q -x '/venv/' "$staging"
    "$staging/venv/bin/python" -I -c 'import mutt, services' ||
        fail "the installed release cannot be imported: the lines above say why"
    chmod -R u=rwX,go=rX "$staging"
    cp "$here/RELEASE" "$staging/RELEASE"
    mv "$staging" "$target"
    trap - EXIT INT TERM HUP
}

configure() {
    mkdir -p "$configuration/secrets" "$logs"
    give root:root 0755 "$configuration" # senders on this machine keep settings of theirs here too
    give mutt:mutt 0700 "$configuration/secrets"
    give mutt:mutt 0750 "$logs"
    shipped=$releases/$version/mutt.env
    if [ ! -e "$configuration/mutt.env" ]; then
        cp "$shipped" "$configuration/mutt.env"
        cp "$shipped" "$configuration/.mutt.env.shipped"
        say "made $configuration/mutt.env: fill it in"
    elif ! cmp -s "$shipped" "$configuration/.mutt.env.shipped"; then
        cp "$shipped" "$configuration/mutt.env.new"
        cp "$shipped" "$configuration/.mutt.env.shipped"
        give root:mutt 0640 "$configuration/mutt.env.new"
        say "kept $configuration/mutt.env; this release ships another one, beside it as mutt.env.new: compare them"
    fi
    give root:mutt 0640 "$configuration/.mutt.env.shipped"
    give root:mutt 0640 "$configuration/mutt.env"
}

place_units() {
    # Renamed when all are there: a full disk leaves no half of a unit.
    rm -rf "$units/.mutt.new"
    mkdir -p "$units/.mutt.new"
    if ! cp "$releases/$version"/systemd/mutt* "$units/.mutt.new"; then
        rm -rf "$units/.mutt.new"
        fail "the units could not be written to $units, which is as it was: the lines above say why"
    fi
    mv -f "$units/.mutt.new"/* "$units"
    rmdir "$units/.mutt.new"
    for unit in "$units"/mutt-*.service "$units"/mutt-*.timer "$units/mutt.target"; do
        if [ -f "$unit" ] && [ ! -f "$releases/$version/systemd/$(basename "$unit")" ]; then rm -f "$unit"; fi
    done
    if of_this_system && command -v restorecon >/dev/null; then restorecon -R "$base" "$units" "$configuration"; fi
}

switch() {
    before=$(in_use current)
    if [ -n "$before" ] && [ "$before" != "$version" ] && [ -d "$releases/$before" ]; then
        ln -sfn "releases/$before" "$base/previous" # first: what is interrupted here can still be rolled back
    fi
    ln -sfn "releases/$version" "$base/.current.new"
    mv -T "$base/.current.new" "$base/current" # one rename: at no moment is there no release
    for entry in "$releases/$version"/*; do ln -sfn "current/$(basename "$entry")" "$base/$(basename "$entry")"; done
    for link in "$base"/*; do
        if [ -L "$link" ] && [ ! -e "$link" ]; then rm "$link"; fi
    done
    systemctl_does daemon-reload
}

tell_installed() {
    say "installed $version in $base"
    if [ -n "$before" ] && [ "$before" != "$version" ]; then
        say "$before still runs where it ran. Next: $base/docs/operations/upgrade.md (the schema, then the restarts);"
        say "back again: sh $base/install.sh rollback"
    elif [ -z "$before" ]; then
        say "Next: $base/docs/operations/install.md, from \"Fill in the configuration\" on"
    fi
}

release_of() { [ -n "$1" ] && [ -f "$releases/$1/RELEASE" ]; }

case $action in
install)
    [ -z "$version" ] || fail "install takes no word: the bundle is the one that install.sh lies in"
    check_bundle
    version=$(value "$here" version)
    find_python
    one_at_a_time
    make_user
    check_user_runs_python
    mkdir -p "$releases"
    build
    configure
    place_units
    switch
    tell_installed
    ;;
rollback)
    one_at_a_time
    version=${version:-$(in_use previous)}
    release_of "$version" || fail "there is no release ${version:-before this one}; install.sh list shows what is there"
    place_units
    switch
    say "switched from $before to $version; what runs goes on until it is restarted:"
    say "systemctl restart mutt.target"
    ;;
list)
    for release in "$releases"/*/RELEASE; do
        [ -f "$release" ] || fail "nothing is installed in $base"
        name=$(basename "$(dirname "$release")")
        if [ "$name" = "$(in_use current)" ]; then say "* $name"; else say "  $name"; fi
    done
    ;;
remove)
    one_at_a_time
    release_of "$version" || fail "there is no release ${version:-without a name}; install.sh list shows what is there"
    [ "$version" != "$(in_use current)" ] || fail "$version is in use: first install or roll back to another one"
    if [ "$version" = "$(in_use previous)" ]; then rm "$base/previous"; fi
    rm -rf "$releases/.$version.partial" # so named, the half of one that an interruption leaves is no release
    mv "$releases/$version" "$releases/.$version.partial"
    rm -rf "$releases/.$version.partial"
    say "removed $version"
    ;;
uninstall)
    one_at_a_time
    if [ -d "$units" ]; then
        for unit in "$units"/mutt-*.service "$units"/mutt-*.timer "$units/mutt.target"; do
            [ -f "$unit" ] || continue
            name=$(basename "$unit")
            case $name in
            *@.service) # disable knows no patterns: an instance is disabled by its name
                links=$(find "$root/etc/systemd/system" -path "*.wants/${name%.service}*.service" 2>/dev/null || true)
                for link in $links; do systemctl_does disable --now "$(basename "$link")"; done
                systemctl_does stop "${name%.service}*.service"
                ;;
            *) systemctl_does disable --now "$name" || say "systemctl could not stop $name" ;;
            esac
            rm -f "$unit"
        done
    fi
    systemctl_does daemon-reload
    rm -rf "$base"
    if [ "$purge" = yes ]; then
        rm -rf "$configuration" "$logs"
        if of_this_system && getent passwd mutt >/dev/null; then userdel mutt; fi
        say "uninstalled, with configuration, secrets, logs and the user mutt"
    else
        say "uninstalled; kept: $configuration, $logs"
    fi
    if [ -d "$root/var/lib/mutt" ]; then say "kept: $root/var/lib/mutt, which holds archived events"; fi
    ;;
*) fail "unknown command $action; see --help" ;;
esac
