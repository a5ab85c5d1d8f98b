#!/usr/bin/env bash
# On the host of the scenario, as root: an instance of a test's own, copied from `main` as it was at first.
#   instance.sh make NAME      /etc/odoo/NAME.conf, database NAME, addons in /srv/slipway-tests/NAME/addons
#   instance.sh drop NAME
set -eu
exec 9>/run/lock/slipway-tests
flock 9
verb=$1 name=$2
template=slipway_tests_template
filestore=/var/lib/odoo/main/filestore
addons=/srv/slipway-tests/$name/addons

as_postgres() { (cd / && runuser -u postgres -- "$@"); }

drop() {
    as_postgres dropdb --if-exists --force "$1"
    rm -rf "${filestore:?}/$1" "/srv/slipway-tests/${1:?}" "/etc/odoo/$1.conf" "/var/log/odoo/slipway-tests-$1"
}

make_template() {
    [ -z "$(as_postgres psql -XAtc "SELECT 1 FROM pg_database WHERE datname = '$template'")" ] || return 0
    # A database that somebody is connected to cannot be copied.
    systemctl stop odoo@main
    as_postgres createdb --template main --owner odoo-main "$template"
    cp -a "$filestore/main" "$filestore/$template"
    systemctl start odoo@main
    # Nobody knows yet what is installed there, as in a database that was made without us.
    as_postgres psql -XAtq -d "$template" \
        -c "DELETE FROM ir_config_parameter WHERE key = 'module_auto_update.installed_checksums'"
    # The access rules of the site let its role into its own database alone.
    hba=$(as_postgres psql -XAtc 'SHOW hba_file')
    sed -i -e '1i local all odoo-main peer' -e '1i host all odoo-main 127.0.0.1/32 scram-sha-256' "$hba"
    as_postgres psql -XAtqc 'SELECT pg_reload_conf()' >/dev/null
}

make() {
    make_template
    drop "$name"
    as_postgres createdb --template "$template" --owner odoo-main "$name"
    cp -a "$filestore/$template" "$filestore/$name"
    install -d "$addons"
    install -d -o odoo-main -g odoo-main -m 0750 "/var/log/odoo/slipway-tests-$name"
    (
        umask 077
        sed -e "s|^db_name = .*|db_name = $name|" \
            -e "s|^dbfilter = .*|dbfilter = ^$name\$|" \
            -e "s|^addons_path = |addons_path = $addons,|" \
            -e "s|^logfile = .*|logfile = /var/log/odoo/slipway-tests-$name/odoo.log|" \
            /etc/odoo/main.conf >"/etc/odoo/$name.conf"
    )
    chown odoo-main "/etc/odoo/$name.conf"
}

case $name in
    main | "$template" | '' | *[!a-z0-9_]*) echo "instance.sh: not a name for a test's instance: $name" >&2; exit 2 ;;
esac
case $verb in
    make) make ;;
    drop) drop "$name" ;;
    *) echo "instance.sh: make or drop, not $verb" >&2; exit 2 ;;
esac
