# shellcheck shell=bash
# Shared by the scripts: printing, retrying, becoming root, CRIU's places. Sourced, never run.

# The least version of CRIU that runs on kernels from 6.13 on (they map vvar_vclock).
criu_least=4.1

# Tools for administrators and rustup's are there even where the PATH does not say so.
PATH=$PATH:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin

# A prefix chosen by the person is meant for building and for running.
if [[ -n ${PYIMG_CRIU_PREFIX:-} ]]; then export PYIMG_CRIU=$PYIMG_CRIU_PREFIX/sbin/criu; fi

# step TEXT: says what happens next.
step() { printf '==> %s\n' "$*"; }
# note TEXT: something worth knowing about the step.
note() { printf '    %s\n' "$*"; }
# complain TEXT: says on stderr what is wrong.
complain() { printf 'error: %s\n' "$*" >&2; }
# die TEXT: something is wrong that the person has to mend; exit 2, as everywhere in this project.
die() {
    complain "$@"
    exit 2
}

# quietly COMMAND...: runs it and shows its output only when it fails.
quietly() {
    local output status=0
    output=$("$@" 2>&1 </dev/null) || status=$?
    if ((status != 0)); then
        printf '%s\n' "$output" >&2
        complain "this failed with status $status: $*"
    fi
    return "$status"
}

# retry COMMAND...: up to three times, because mirrors and networks have bad moments.
retry() {
    local attempt
    for attempt in 1 2 3; do
        if quietly "$@"; then return 0; fi
        if ((attempt < 3)); then
            note "once more in $((attempt * 3)) s"
            sleep $((attempt * 3))
        fi
    done
    return 1
}

# at_least VERSION LEAST: whether a dotted version is LEAST or newer.
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

has() { command -v "$1" >/dev/null 2>&1; }
is_root() { [[ $(id -u) -eq 0 ]]; }

# can_become_root: root already, or a sudo that asks nothing.
can_become_root() { is_root || { has sudo && sudo -n true 2>/dev/null; }; }

# as_root COMMAND...: runs it as root; only to be called where can_become_root holds.
as_root() {
    if is_root; then "$@"; else sudo -n "$@"; fi
}

# default_criu_prefix: where this user's private CRIU belongs.
default_criu_prefix() {
    if is_root; then
        printf '%s\n' /usr/local/lib/pyimg/criu
    else
        printf '%s\n' "$HOME/.local/lib/pyimg/criu"
    fi
}

# criu_version CRIU: prints its version, as 4.1.1; fails where it does not run.
criu_version() {
    local answer
    answer=$("$1" --version 2>/dev/null) || return 1
    sed -n 's/^Version: *\([0-9][0-9.]*\).*/\1/p' <<<"$answer" | grep .
}

# usable_criu CRIU INCLUDE LIB: whether it is new enough and what our build links with is there too.
usable_criu() {
    local version
    [[ -x $1 && -e $2/criu/criu.h && -e $3/libcriu.a && -e $3/libprotobuf-c.a ]] || return 1
    version=$(criu_version "$1") && at_least "$version" "$criu_least"
}

# find_criu: prints the path of the CRIU that pyimg will use, if it is one to build with too; else fails. The places
# and their order are those of src/criu/find.rs and build.rs.
find_criu() {
    local prefix libraries prefixes=("${HOME:-/root}/.local/lib/pyimg/criu" /usr/local/lib/pyimg/criu)
    if [[ -n ${PYIMG_CRIU_PREFIX:-} ]]; then prefixes=("$PYIMG_CRIU_PREFIX"); fi
    for prefix in "${prefixes[@]}"; do
        if usable_criu "$prefix/sbin/criu" "$prefix/include" "$prefix/lib"; then
            printf '%s\n' "$prefix/sbin/criu"
            return 0
        fi
    done
    if [[ -n ${PYIMG_CRIU_PREFIX:-} ]] || ! has criu; then return 1; fi
    for libraries in "/usr/lib/$(gcc -print-multiarch 2>/dev/null)" /usr/lib64 /usr/lib; do
        if usable_criu "$(command -v criu)" /usr/include "$libraries"; then
            command -v criu
            return 0
        fi
    done
    return 1
}
