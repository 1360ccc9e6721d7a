#!/usr/bin/env bash
# Installs the configuration for `make install`: configuration.sh DESTDIR PREFIX SYSCONFDIR
# A file that the site has changed is never overwritten: the new one is put beside it as FILE.new.
set -euo pipefail
cd "$(dirname "$0")/../.."
destdir=$1 prefix=$2 sysconfdir=$3

find config dicom-templates -type f | while read -r source; do
    target=$destdir$sysconfdir/fcdd/${source#config/}
    mkdir -p "$(dirname "$target")"
    sed "s|/usr/local/|$prefix/|g; s|/etc/fcdd|$sysconfdir/fcdd|g" "$source" >"$target.new"
    chmod 644 "$target.new"
    if [ ! -e "$target" ] || cmp -s "$target" "$target.new"; then
        mv "$target.new" "$target"
    else
        echo "kept $target; the new version is $target.new"
    fi
done
