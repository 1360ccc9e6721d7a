#!/usr/bin/env bash
# What the integration tests talk to and are judged by: peers.sh VENV
# Debian's DICOM tools, and a Python environment with tests/support/requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$1
requirements=tests/support/requirements.txt

.ci/setup/debian.sh \
    storescu=dcmtk dsrdump=dcmtk \
    Orthanc=orthanc /usr/share/orthanc/plugins/libOrthancDicomWeb.so=orthanc-dicomweb \
    dciodvfy=dicom3tools \
    java=default-jre-headless /usr/share/java/pixelmed.jar=libpixelmed-java \
    dcm2niix=dcm2niix xz=xz-utils openssl=openssl strace=strace \
    /usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1=libfaketime

if ! cmp -s "$requirements" "$venv/installed.txt"; then
    echo "setup: Python packages of the tests -> $venv"
    rm -rf "$venv"
    python3 -m venv --without-pip "$venv"    # Debian's own pip installs into it: python3-venv is not needed
    PIP_ROOT_USER_ACTION=ignore python3 -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$venv/installed.txt"
fi
