# shellcheck shell=bash
# Shared by the scripts that deploy to the lab.

# make_secrets INVENTORY: the lab's passwords, made at first use, readable by their owner alone.
make_secrets() {
    local file=$1/group_vars/all/secrets.yml name
    [ ! -s "$file" ] || return 0
    (
        umask 077
        {
            echo '---'
            for name in demo_database_password demo_admin_password demo_master_password; do
                printf '%s: "%s"\n' "$name" "$(openssl rand -hex 16)"
            done
        } >"$file.new"
        mv "$file.new" "$file"
    )
    echo "lab: made passwords in $file"
}
