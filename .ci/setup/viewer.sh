#!/usr/bin/env bash
# What the viewer test needs: viewer.sh FOLDER
# Chromium from Debian, the OHIF viewer's prebuilt pages and playwright-core (which drives Chromium) from npm.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1
ohif=@ohif/app@3.13.2
playwright=playwright-core@1.56.1

.ci/setup/debian.sh chromium=chromium node=nodejs npm=npm

[ "$(cat "$folder/installed.txt" 2>/dev/null)" = "$ohif $playwright" ] && exit 0
if ! command -v npm >/dev/null 2>&1; then
    echo "setup: without npm the viewer cannot be fetched" >&2
    exit 1
fi

echo "setup: $ohif and $playwright -> $folder"
mkdir -p "$(dirname "$folder")"
scratch=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
# `npm pack`, not `npm install`: the viewer's own dependencies do not install, and its built pages need none.
unpack() { # unpack PACKAGE FOLDER PATHS-INSIDE...
    local archive
    archive=$(npm pack --silent --pack-destination "$scratch" "$1" | tail -n 1)
    mkdir -p "$scratch/unpacked/$2"
    tar -xzf "$scratch/$archive" -C "$scratch/unpacked/$2" --strip-components=1 "${@:3}"
}
unpack "$ohif" ohif package/dist package/package.json
unpack "$playwright" node_modules/playwright-core
echo "$ohif $playwright" >"$scratch/unpacked/installed.txt"
rm -rf "$folder"
chmod 755 "$scratch/unpacked"
mv "$scratch/unpacked" "$folder"
