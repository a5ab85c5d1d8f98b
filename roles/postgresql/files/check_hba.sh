#!/bin/sh
# Refuses access rules that PostgreSQL does not understand. Only a running server can read them, and only under the
# name of the real file, so the candidate stands there for a moment; the server itself loads nothing in between.
# No percent sign in this file: it becomes the text of a module's validate option.
# Arguments: LIVE DATA_DIRECTORY VERSION CANDIDATE
set -eu
live=$1 data=$2 version=$3 candidate=$4
export PGOPTIONS='-c lc_messages=C'

# Where no server runs there is none to protect and none to ask; starting it will tell.
[ -s "$data/postmaster.pid" ] || exit 0
pid=$(sed -n 1p "$data/postmaster.pid")
port=$(sed -n 4p "$data/postmaster.pid")
socket=$(sed -n 5p "$data/postmaster.pid")
kill -0 "$pid" 2>/dev/null || exit 0

kept=$live.kept
cp -p "$live" "$kept"
trap 'mv -f "$kept" "$live"' EXIT
trap 'exit 1' HUP INT TERM
install -o root -g postgres -m 0640 "$candidate" "$live.candidate"
mv -f "$live.candidate" "$live"

# TLS may be switched on in the same run; the server's present state is no fault of the file.
errors=$(runuser -u postgres -- "/usr/lib/postgresql/$version/bin/psql" -XqAt -h "$socket" -p "$port" -d postgres -c "
    SELECT 'line ' || line_number || ': ' || error
    FROM pg_hba_file_rules
    WHERE error IS NOT NULL AND NOT starts_with(error, 'hostssl record cannot match')
    ORDER BY line_number" </dev/null)
[ -z "$errors" ] || { echo "$errors" >&2; exit 1; }
