#!/bin/sh
# Prints as JSON how the running server stands to its files. Reads only. Exit 3: it accepts no connections (yet).
# Arguments: VERSION DATA_DIRECTORY SETTINGS_FILE ADDRESSES FILE...
# ADDRESSES are those it should listen on, separated by commas. FILEs are read on reload, like SETTINGS_FILE.
set -eu
version=$1 data=$2 settings=$3 addresses=$4
shift 4
bin=/usr/lib/postgresql/$version/bin
export PGOPTIONS='-c lc_messages=C'

[ -s "$data/postmaster.pid" ] || { echo "PostgreSQL does not run: there is no $data/postmaster.pid" >&2; exit 3; }
port=$(sed -n 4p "$data/postmaster.pid")
socket=$(sed -n 5p "$data/postmaster.pid")
status=$(sed -n 8p "$data/postmaster.pid")
case $status in
ready*) ;;
*) echo "PostgreSQL accepts no connections yet: ${status:-starting}" >&2; exit 3 ;;
esac

deaf=
IFS=,
for address in $addresses; do
    case $address in
    '*' | 0.0.0.0) probe=127.0.0.1 ;;
    ::) probe=::1 ;;
    *) probe=$address ;;
    esac
    # Not pg_isready, which is refused by the access rules and so leaves lines in the server's log.
    # shellcheck disable=SC2016
    timeout 5 bash -c ': <"/dev/tcp/$0/$1"' "$probe" "$port" 2>/dev/null || deaf=${deaf:+$deaf,}$address
done
unset IFS

# The time of the change of state, not of content: a file gets into force when it is renamed, which may be later.
newest=$(stat -L -c '%.9Z' "$settings" "$@" | sort -n | tail -n 1)

exec runuser -u postgres -- "$bin/psql" -XqAt -v ON_ERROR_STOP=1 -h "$socket" -p "$port" -d postgres \
    -v socket="$socket" -v newest="$newest" -v settings="$settings" -v deaf="$deaf" <<'SQL'
SELECT json_build_object(
    'port', current_setting('port')::int,
    'socket', :'socket',
    'stale', :'newest'::numeric > extract(epoch FROM pg_conf_load_time())::numeric,
    'checksums', current_setting('data_checksums'),
    'deaf', to_json(string_to_array(:'deaf', ',')),
    'pending_restart', (
        SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart
    ),
    'file_errors', (
        SELECT coalesce(json_agg(concat_ws(' ', sourcefile || ' line ' || sourceline || ':', name, error)), '[]')
        FROM pg_file_settings
        WHERE error IS NOT NULL AND error <> 'setting could not be applied'
    ),
    'overridden', (
        SELECT coalesce(json_agg(ours.name || ' in ' || other.sourcefile ORDER BY ours.name), '[]')
        FROM pg_file_settings AS ours
        JOIN pg_file_settings AS other ON other.name = ours.name AND other.seqno > ours.seqno
        WHERE ours.sourcefile = :'settings'
    ),
    'hba_errors', (
        SELECT coalesce(json_agg('line ' || line_number || ': ' || error ORDER BY line_number), '[]')
        FROM pg_hba_file_rules WHERE error IS NOT NULL
    )
);
SQL
