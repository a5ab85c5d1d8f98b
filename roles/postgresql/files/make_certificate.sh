#!/bin/sh
# Makes a key and a self-signed certificate that is its own root, for clients that verify the server with it.
# Arguments: CERTIFICATE KEY DAYS NAMES (separated by commas)
set -eu
certificate=$1 key=$2 days=$3 names=$4

alternatives=
IFS=,
for name in $names; do
    case $name in
    *:*) kind=IP ;;
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
    esac
    alternatives=${alternatives:+$alternatives,}$kind:$name
done
unset IFS

umask 077
work=$(mktemp -d "$(dirname "$key")/.slipway-tls.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days "$days" \
    -subj "/CN=PostgreSQL of $(hostname | cut -c 1-40)" \
    -addext "subjectAltName=$alternatives" \
    -addext 'keyUsage=critical,digitalSignature,keyCertSign' \
    -addext 'extendedKeyUsage=serverAuth' \
    -keyout "$work/key" -out "$work/certificate" 2>/dev/null
chown root:postgres "$work/key"
chmod 0640 "$work/key"
chmod 0644 "$work/certificate"
# In this order a run that ends in between leaves a pair that does not fit, which the next run sees and replaces.
mv -f "$work/key" "$key"
mv -f "$work/certificate" "$certificate"
