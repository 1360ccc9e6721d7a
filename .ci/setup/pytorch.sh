#!/usr/bin/env bash
# Makes `import torch` work in the tests' Python, on the CPU: pytorch.sh FOLDER LIBTORCH-FOLDER VENV
#
# The same wheel as libtorch.sh's, and no second copy of its libraries: FOLDER holds links to what that script kept,
# and stand-ins for the CUDA libraries that only the loader asks for (pytorch.py). A path file in VENV points here.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1
libtorch=$(cd "$2" && pwd)
venv=$3

# Made again when the wheel or how the stand-ins are made changes.
stamp="$(cat "$libtorch/torch/build-version") $(sha256sum .ci/setup/pytorch.py .ci/setup/pytorch.sh | sha256sum)"
if [ "$(cat "$folder/made-of" 2>/dev/null)" != "$stamp" ]; then
    if ! command -v readelf >/dev/null 2>&1 || ! command -v gcc >/dev/null 2>&1; then
        echo "PyTorch for the tests needs gcc and readelf:  apt-get install -y gcc binutils" >&2
        exit 1
    fi
    echo "setup: PyTorch for the tests -> $folder"
    rm -rf "$folder"
    mkdir -p "$folder/torch/lib"
    ln -s "$libtorch/nvidia" "$libtorch"/python/{torchgen,functorch} "$folder/"
    ln -s "$libtorch"/python/torch/* "$libtorch/torch/include" "$folder/torch/"
    ln -s "$libtorch"/python/lib/* "$libtorch"/torch/lib/* "$folder/torch/lib/"
    python3 .ci/setup/pytorch.py "$folder/torch/lib"
    echo "$stamp" > "$folder/made-of"
fi

site=$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
echo "$(cd "$folder" && pwd)" > "$site/pytorch.pth"
