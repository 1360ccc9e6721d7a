#!/usr/bin/env bash
# Unpacks ONNX Runtime with the OpenVINO provider into a folder of its own: onnxruntime.sh FOLDER
#
# Only the shared libraries of the Python wheel are kept, in FOLDER/onnxruntime/capi; fcdd loads them at run time, no
# Python is involved. The wheel is asked for by its tag, so that it does not matter which Python the machine has.
set -euo pipefail

version=1.24.1
folder=$1

if [ "$(uname -m)" != x86_64 ]; then
    echo "onnxruntime-openvino $version exists for x86_64 only; set FCDD_ONNXRUNTIME to an ONNX Runtime library of your own (1.17 or newer)." >&2
    exit 1
fi

mkdir -p "$(dirname "$folder")"
scratch=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
echo "setup: onnxruntime-openvino $version -> $folder"
PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary :all: \
    --implementation cp --python-version 3.11 --platform manylinux_2_28_x86_64 \
    --target "$scratch/wheel" "onnxruntime-openvino==$version"

mkdir -p "$scratch/library/onnxruntime/capi"
for file in "$scratch"/wheel/onnxruntime/capi/*.so*; do
    case $file in
        *pybind11*) ;;                   # Python's own binding
        *intel_gpu* | *intel_npu*) ;;    # devices that fcdd does not use
        *) mv "$file" "$scratch/library/onnxruntime/capi/" ;;
    esac
done
mv "$scratch"/wheel/onnxruntime/{LICENSE,ThirdPartyNotices.txt} "$scratch/library/onnxruntime/"
test -f "$scratch/library/onnxruntime/capi/libonnxruntime.so.$version"

rm -rf "$folder"
chmod 755 "$scratch/library"
mv "$scratch/library" "$folder"
