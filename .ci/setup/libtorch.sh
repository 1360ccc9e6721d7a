#!/usr/bin/env bash
# Unpacks libtorch for the trainer from PyTorch's wheel: libtorch.sh FOLDER, then LIBTORCH=FOLDER/torch
#
# The wheel is made for CUDA; on a CPU five shared objects of it suffice, libtorch_cpu with c10 and gomp, and two small
# ones of NVIDIA's that it is linked to. The folders keep the wheel's shape, because the libraries look for each other
# by it. libtorch.so itself has no code: torch-sys names it to the linker, which drops it. The Python part goes to
# FOLDER/python, for pytorch.sh. To train on CUDA, point LIBTORCH to the `torch` folder of a complete installation
# (python3 -m pip install torch==2.13.0, 5 GB) when running; nothing needs to be built again.
set -euo pipefail

version=2.13.0
folder=$1

if [ "$(uname -m)" != x86_64 ]; then
    echo "This set-up of libtorch is for x86_64; set LIBTORCH to the torch folder of PyTorch $version of your own." >&2
    exit 1
fi
if [ "$(cat "$folder/torch/build-version" 2>/dev/null)" = "$version" ]; then
    exit 0
fi

mkdir -p "$(dirname "$folder")"
scratch=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
echo "setup: libtorch $version -> $folder (downloads 550 MB)"
PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --no-compile \
    --only-binary :all: --target "$scratch/wheel" \
    "torch==$version" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85

kept=$scratch/kept
mkdir -p "$kept"/torch/lib "$kept"/nvidia/cu13/lib "$kept"/python/lib
mv "$scratch"/wheel/torch/lib/{libtorch_cpu.so,libc10.so,libgomp.so.1,libtorch.so} "$kept/torch/lib/"
mv "$scratch"/wheel/torch/include "$kept/torch/"
mv "$scratch"/wheel/nvidia/cu13/lib/{libcudart.so.13,libcupti.so.13} "$kept/nvidia/cu13/lib/"
mv "$scratch"/wheel/torch/lib/{libtorch_python.so,libtorch_global_deps.so,libshm.so,libshm,libc10_cuda.so} "$kept/python/lib/"
rm -rf "$scratch/wheel/torch/lib"
mv "$scratch"/wheel/{torch,torchgen,functorch} "$kept/python/"
find "$scratch/wheel" -path '*torch-*.dist-info*' -name 'LICENSE*' -exec cp {} "$kept/torch/" \;
echo "$version" > "$kept/torch/build-version"

rm -rf "$folder"
chmod 755 "$kept"
mv "$kept" "$folder"
