# What makes the kernels for NVIDIA cards besides the Debian packages. Sourced by quickstart and check.

cuda_packages=(clang-19)
ptxas_sha256=983b0e9283855979f42cebfd80d43f9b6e786eb84f03f7570bf941c4d3a3c461

# fetch_cuda_tools FOLDER: ptxas 12.9, the last series that knows the cards of the GTX 10 series, into FOLDER/bin.
fetch_cuda_tools() {
  local ptxas=$1/bin/ptxas wheel
  if echo "$ptxas_sha256  $ptxas" | sha256sum --check --status 2>/dev/null; then return 0; fi
  echo "fetching ptxas (the PyPI package nvidia-cuda-nvcc-cu12 12.9.86, 41 MB)" >&2
  wheel=$(mktemp -d)
  if ! python3 -m pip download --quiet --no-deps --dest "$wheel" nvidia-cuda-nvcc-cu12==12.9.86 >&2; then
    rm -rf "$wheel"
    echo "ptxas could not be fetched; without it there is no machine code for sm_61 and no count of registers" >&2
    return 1
  fi
  python3 -m zipfile -e "$wheel"/nvidia_cuda_nvcc_cu12-12.9.86-*.whl "$wheel"
  if ! echo "$ptxas_sha256  $wheel/nvidia/cuda_nvcc/bin/ptxas" | sha256sum --check --quiet >&2; then
    rm -rf "$wheel"
    return 1
  fi
  mkdir -p "$1/bin"
  cp "$wheel"/nvidia_cuda_nvcc_cu12-*.dist-info/licenses/License.txt "$1/"
  chmod +x "$wheel/nvidia/cuda_nvcc/bin/ptxas"
  mv "$wheel/nvidia/cuda_nvcc/bin/ptxas" "$ptxas"
  rm -rf "$wheel"
}
