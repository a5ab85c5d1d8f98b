#!/usr/bin/env bash
# The floor of bench/deploy.py: what a careful person types to get the same three hosts, and nothing else.
#   floor.sh INVENTORY DB_ADDRESS APP_ADDRESS EDGE_ADDRESS
set -euo pipefail
inventory=$1 db=$2 app=$3 edge=$4

on() {
    local host=$1
    shift
    script/lab --inventory "$inventory" ssh "$host" sudo env "$@" bash -eu
}
secret() { sed -n "s/^$1: \"\(.*\)\"/\1/p" "$inventory/group_vars/all/secrets.yml"; }
database_password=$(secret demo_database_password)
admin_password=$(secret demo_admin_password)

on db1 APP="$app" PASSWORD="$database_password" <<'DB'
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates locales systemd-timesyncd logrotate postgresql python3-psycopg2 >/dev/null
cat >/etc/postgresql/17/main/conf.d/floor.conf <<CONF
listen_addresses = '*'
shared_buffers = 4GB
CONF
echo "hostssl all all $APP/32 scram-sha-256" >>/etc/postgresql/17/main/pg_hba.conf
systemctl restart postgresql@17-main
cd /
su postgres -c psql >/dev/null <<SQL
CREATE ROLE "odoo-main" LOGIN PASSWORD '$PASSWORD';
CREATE DATABASE main OWNER "odoo-main" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C';
\c main
CREATE EXTENSION pg_trgm;
CREATE EXTENSION unaccent;
SQL
DB

on app1 DB="$db" PASSWORD="$database_password" ADMIN="$admin_password" <<'APP'
export DEBIAN_FRONTEND=noninteractive
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
[ -n "$mirror" ] || mirror=$(awk '/^deb /{print $2; exit}' /etc/apt/sources.list)
cat >/etc/apt/sources.list.d/odoo.sources <<SOURCES
Types: deb
URIs: $mirror
Suites: unstable
Components: main
Check-Valid-Until: no
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
printf 'Package: *\nPin: release a=unstable\nPin-Priority: 50\n\nPackage: odoo-19\nPin: release a=unstable\nPin-Priority: 990\n' >/etc/apt/preferences.d/odoo
apt-get update -qq
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
apt-get install -y -qq --no-install-recommends ca-certificates systemd-timesyncd logrotate odoo-19 fonts-dejavu-core postgresql-client >/dev/null
rm /usr/sbin/policy-rc.d
cat >/etc/odoo/odoo.conf <<CONF
[options]
db_host = $DB
db_user = odoo-main
db_password = $PASSWORD
db_name = main
db_sslmode = require
list_db = False
proxy_mode = True
workers = 2
http_interface = 0.0.0.0
CONF
run() { su odoo -s /bin/sh -c "odoo $*" >/dev/null 2>&1; }
run -c /etc/odoo/odoo.conf -i base,web --no-http --stop-after-init
printf "env['res.users'].browse(2).password = '%s'\nenv.cr.commit()\n" "$ADMIN" >/tmp/password.py
chmod 0644 /tmp/password.py
run shell -c /etc/odoo/odoo.conf --no-http '</tmp/password.py'
rm /tmp/password.py
run -c /etc/odoo/odoo.conf -i contacts --no-http --stop-after-init
run -c /etc/odoo/odoo.conf -i calendar --no-http --stop-after-init
systemctl restart odoo
for _ in $(seq 60); do
    python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8069/web/health")' 2>/dev/null && break
    sleep 1
done
APP

on edge1 APP="$app" EDGE="$edge" <<'EDGE'
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates systemd-timesyncd logrotate nginx libnginx-mod-http-brotli-filter openssl >/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /etc/ssl/private/odoo.key \
    -out /etc/ssl/certs/odoo.crt -days 30 -subj "/CN=$EDGE" -addext "subjectAltName=IP:$EDGE" 2>/dev/null
cat >/etc/nginx/sites-available/default <<CONF
server {
    listen 443 ssl;
    ssl_certificate /etc/ssl/certs/odoo.crt;
    ssl_certificate_key /etc/ssl/private/odoo.key;
    location / {
        proxy_pass http://$APP:8069;
        proxy_set_header Host \$host;
        proxy_set_header X-Forwarded-Host \$host;
        proxy_set_header X-Forwarded-Proto https;
    }
    location /websocket {
        proxy_pass http://$APP:8072;
        proxy_http_version 1.1;
        proxy_set_header Upgrade \$http_upgrade;
        proxy_set_header Connection upgrade;
    }
}
CONF
nginx -t -q
systemctl restart nginx
EDGE

page=$(curl --silent --show-error --insecure --retry 10 --retry-all-errors "https://$edge/web/login")
case $page in
    *oe_login_form*) ;;
    *) echo "floor: no log-in page at https://$edge/" >&2; exit 1 ;;
esac
