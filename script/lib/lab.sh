# shellcheck shell=bash
# Shared by the scripts that deploy to the lab.

# make_secrets INVENTORY: the lab's passwords and the keys of its object store, made at first use, readable by their owner
# alone. What is there stays; what is missing is added.
make_secrets() {
    local inventory=$1 file=$1/group_vars/all/secrets.yml name added=
    (
        umask 077
        mkdir -p "${file%/*}"
        { if [ -s "$file" ]; then cat "$file"; else echo '---'; fi; } >"$file.new"
        for name in demo_database_password demo_admin_password demo_master_password \
            demo_backup_database_passphrase demo_backup_files_passphrase; do
            grep -q "^$name:" "$file.new" && continue
            printf '%s: "%s"\n' "$name" "$(openssl rand -hex 16)" >>"$file.new"
            added=yes
        done
        if [ -n "$added" ]; then
            mv "$file.new" "$file"
            echo "lab: made passwords in $file"
        else
            rm "$file.new"
        fi
    )
    if grep -q 'lab_store:' "$inventory/hosts.yml"; then
        "$(dirname "${BASH_SOURCE[0]}")/../lab" --inventory "$inventory" store
    fi
}
