#!/bin/sh
# Builds one release of Odoo: its source, a virtual environment and a launcher.
umask 022
building=$RELEASE.building
rm -rf "$building" "$RELEASE"
mkdir -p "$building/src"
git -C "$REPOSITORY" archive "$COMMIT" | tar -x -C "$building/src"
# Virtual environments cannot be moved: it is made where it will be used.
mv "$building" "$RELEASE"
"$PYTHON" -m venv ${SYSTEM_SITE_PACKAGES:+--system-site-packages} "$RELEASE/venv"
requirements=${REQUIREMENTS:-$RELEASE/src/requirements.txt}
"$RELEASE/venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
# `import odoo` works in this environment from anywhere, as with an installed Odoo.
echo "$RELEASE/src" > "$("$RELEASE/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/odoo-release.pth"
sed "1s|.*|#!$RELEASE/venv/bin/python|" "$RELEASE/src/odoo-bin" > "$RELEASE/odoo"
chmod 0755 "$RELEASE/odoo"
"$RELEASE/odoo" --version
touch "$RELEASE/.complete"
