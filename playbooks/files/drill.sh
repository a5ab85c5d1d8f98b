#!/bin/sh
# Start the unit of the restore drill, or follow it. Prints one JSON object.
#   drill.sh start UNIT              starts it, or takes the run that is under way; {"id": ...}
#   drill.sh wait UNIT ID NUMBER     waits up to a minute for the verdict of that number of run ID;
#                                    {"state": "verdict" or "ended" or "running", "text": ...}
set -eu
unit=$2

active() { [ "$(systemctl show --property=ActiveState --value "$unit")" = activating ]; }
id() { systemctl show --property=InvocationID --value "$unit"; }
verdicts() { journalctl --quiet --output=cat "_SYSTEMD_INVOCATION_ID=$1" | grep -E '^drill: .*: (yes|NO) \(' || true; }
answer() { python3 -c 'import json, sys; print(json.dumps(dict(zip(sys.argv[1::2], sys.argv[2::2]))))' "$@"; }

case $1 in
start)
    before=$(id)
    if ! active; then
        systemctl start --no-block "$unit"
        for _ in $(seq 100); do
            now=$(id)
            if [ -n "$now" ] && [ "$now" != "$before" ]; then break; fi
            sleep 0.1
        done
    fi
    answer id "$(id)"
    ;;
wait)
    for _ in $(seq 60); do
        # In this order: what a run that has ended wrote is all there.
        if active && [ "$(id)" = "$3" ]; then state=running; else state=ended; fi
        text=$(verdicts "$3" | sed -n "$4p")
        if [ -n "$text" ]; then answer state verdict text "$text"; exit; fi
        if [ "$state" = ended ]; then answer state ended text "the drill has ended"; exit; fi
        sleep 1
    done
    answer state running text "$(journalctl --quiet --output=cat --lines=1 "_SYSTEMD_INVOCATION_ID=$3")"
    ;;
esac
