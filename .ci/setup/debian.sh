#!/usr/bin/env bash
# Installs Debian packages that are missing, or says which are: debian.sh TOOL=PACKAGE...
#
# A TOOL is a program's name or the absolute path of a file. Where this may not install (no root, no apt) it names
# each missing tool with the command that would help and exits 0: who needs the tool says what cannot be done then.
set -euo pipefail

packages=()
tools=()
for pair in "$@"; do
    tool=${pair%%=*}
    case $tool in
        /*) [ -e "$tool" ] && continue ;;
        *) command -v "$tool" >/dev/null 2>&1 && continue ;;
    esac
    tools+=("$tool")
    packages+=("${pair#*=}")
done
[ "${#packages[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: not allowed to install packages here; missing: ${tools[*]}" >&2
    echo "setup:   sudo apt-get install -y ${packages[*]}" >&2
    exit 0
fi

echo "setup: installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null

# Debian starts a new Orthanc as a service on the standard ports; the tests start their own and want no other.
if [[ " ${packages[*]} " == *" orthanc "* ]] && [ -d /run/systemd/system ]; then
    systemctl disable --now --quiet orthanc
fi
