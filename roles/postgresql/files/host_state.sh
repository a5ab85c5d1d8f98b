#!/bin/sh
# Prints as JSON what of a cluster is already on this host. Reads only.
# Arguments: VERSION CLUSTER CERTIFICATE KEY NAMES PACKAGE...
# NAMES are those that a self-signed certificate must have, separated by commas; empty for a given one.
set -eu
export LC_ALL=C
version=$1 cluster=$2 certificate=$3 key=$4 names=$5
shift 5

missing_packages() {
    separator=
    for package; do
        case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true) in
        ii*) ;;
        *)
            printf '%s"%s"' "$separator" "$package"
            separator=,
            ;;
        esac
    done
}

# Whether apt has lists in which all the packages are; those of a bare image may be empty and yet look new.
are_listed() {
    for package; do
        apt-cache show --quiet=2 "$package" >/dev/null 2>&1 || return 1
    done
}

clusters() {
    command -v pg_lsclusters >/dev/null || return 0
    pg_lsclusters --no-header | {
        separator=
        while read -r its_version its_name its_port _ _ its_data _; do
            printf '%s{"configdir": "/etc/postgresql/%s/%s", "port": %s, "pgdata": "%s"}' \
                "$separator" "$its_version" "$its_name" "$its_port" "$its_data"
            separator=,
        done
    }
}

# The version of the data checksums, 0 where there are none, null where there is no data.
checksums() {
    data=$(pg_conftool -s "$version" "$cluster" show data_directory 2>/dev/null || true)
    if [ -s "$data/global/pg_control" ]; then
        "/usr/lib/postgresql/$version/bin/pg_controldata" "$data" | sed -n 's/^Data page checksum version: *//p'
    else
        echo null
    fi
}

has_name() {
    case $1 in
    *:*) openssl x509 -in "$certificate" -noout -checkip "$1" ;;
    *[!0-9.]*) openssl x509 -in "$certificate" -noout -checkhost "$1" ;;
    *) openssl x509 -in "$certificate" -noout -checkip "$1" ;;
    esac | grep -q 'does match'
}

# Whether the certificate has these names and no others. openssl prints addresses in a form of its own, so they are
# asked for one by one and counted.
has_just_the_names() {
    count=$(openssl x509 -in "$certificate" -noout -ext subjectAltName | grep -oE '(DNS|IP Address):' | wc -l)
    wanted=0
    IFS=,
    for name in $names; do
        has_name "$name" || return 1
        wanted=$((wanted + 1))
    done
    unset IFS
    [ "$count" -eq "$wanted" ]
}

is_private() {
    case $(stat -L -c '%U:%G:%a' "$key") in
    postgres:*:600 | postgres:*:400 | root:*:600 | root:*:400) ;;
    root:postgres:640 | root:postgres:440 | root:ssl-cert:640 | root:ssl-cert:440) ;;
    *) return 1 ;;
    esac
    ! getent passwd postgres >/dev/null || runuser -u postgres -- test -r "$key"
}

certificate_state() {
    if [ ! -s "$certificate" ] || [ ! -s "$key" ]; then
        echo absent
        return
    fi
    days=0
    [ -z "$names" ] || days=30
    if openssl x509 -in "$certificate" -noout -checkend $((days * 86400)) >/dev/null &&
        [ "$(openssl x509 -in "$certificate" -noout -pubkey)" = "$(openssl pkey -in "$key" -pubout)" ] &&
        is_private && { [ -z "$names" ] || has_just_the_names; }; then
        echo valid
    else
        echo stale
    fi
}

is() { if "$@" >/dev/null 2>&1; then echo true; else echo false; fi; }

missing=$(missing_packages "$@")
printf '{"missing": [%s], "listed": %s, "clusters": [%s], "exists": %s, "running": %s, "enabled": %s, "checksums": %s, "certificate": "%s", "after_network": %s, "settings_kept": %s}\n' \
    "$missing" \
    "$(if [ -z "$missing" ]; then echo true; else is are_listed "$@"; fi)" \
    "$(clusters)" \
    "$(is test -f "/etc/postgresql/$version/$cluster/postgresql.conf")" \
    "$(is systemctl is-active "postgresql@$version-$cluster.service")" \
    "$(is systemctl is-enabled postgresql.service)" \
    "$(checksums)" \
    "$(if [ -n "$certificate" ]; then certificate_state; else echo absent; fi)" \
    "$(is test -f /etc/systemd/system/postgresql@.service.d/slipway.conf)" \
    "$(is cmp -s "/etc/postgresql/$version/$cluster/conf.d/slipway.conf" "/etc/postgresql/$version/$cluster/conf.d/slipway.conf.good")"
