#!/bin/sh
# Find the Pythons of at least 3.11 that work here.
#
#   tools/pythons.sh newest    the newest version: `make test` runs on it
#   tools/pythons.sh oldest    the oldest version: `make test-all` runs on it too
#   tools/pythons.sh 3.12      the path of that version
#   tools/pythons.sh default   the path of python3, or of the newest where it will not do
#
# A name on PATH proves nothing: a pyenv shim stands there for versions that are not
# selected, and a system's Python may lack venv. So every candidate is run.

# Not a pre-release, nor a build without the GIL: few packages have wheels for those.
probe='
import ensurepip, sys, sysconfig, venv
final = sys.version_info.releaselevel == "final"
if sys.version_info < (3, 11) or not final or sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(1)
print("%d.%d %s" % (*sys.version_info[:2], sys.executable))
'

candidates() {
    command -v python3
    printf '%s\n' "$PATH" | tr ':' '\n' | while IFS= read -r folder; do
        ls -d "$folder"/python3 "$folder"/python3.[1-9][0-9] 2>/dev/null
    done
    ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3 2>/dev/null
}

# Lines of "version path", oldest first; of one version, the candidate that came first.
working() {
    candidates | awk '!seen[$0]++' | while IFS= read -r python; do
        "$python" -c "$probe" </dev/null 2>/dev/null
    done | awk '!seen[$1]++' | sort -t . -k 2,2n
}

fail() {
    echo "$1" >&2
    exit 1
}

found=$(working)
versions=$(printf '%s\n' "$found" | cut -d ' ' -f 1)
oldest=$(printf '%s\n' "$versions" | head -n 1)
newest=$(printf '%s\n' "$versions" | tail -n 1)
[ -n "$found" ] || fail "Found no working Python of at least 3.11 with venv: install one."

case ${1:-newest} in
newest)
    echo "$newest"
    exit
    ;;
oldest)
    [ "$oldest" != "$newest" ] ||
        echo "Only Python $oldest works here: testing on that one alone." >&2
    echo "$oldest"
    exit
    ;;
default)
    path=$(python3 -c "$probe" </dev/null 2>/dev/null | cut -d ' ' -f 2-)
    wanted=$newest
    ;;
*)
    path=
    wanted=$1
    ;;
esac

[ -n "$path" ] ||
    path=$(printf '%s\n' "$found" | awk -v wanted="$wanted" '$1 == wanted' | cut -d ' ' -f 2-)
[ -n "$path" ] ||
    fail "Found no working Python $wanted with venv, only $(echo $versions): install it."
printf '%s\n' "$path"
