#!/bin/sh
# Prints the addresses of this host's Debian mirrors, and a line `known` when apt knows the package $1.
# apt itself fills in the format's fields.
# shellcheck disable=SC2016
apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | sort -u
if apt-cache show --no-all-versions "$1" >/dev/null 2>&1; then echo known; fi
