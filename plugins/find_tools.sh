#!/bin/sh
# Finds the CUDA compiler and TensorRT's headers, or downloads them from the package index, and prints make variables.
# Nothing is installed: what is downloaded lies in the build directory.
#
#   find_tools.sh BUILD_DIRECTORY > tools.mk
#   find_tools.sh --look BUILD_DIRECTORY     only tells where it looks, and downloads nothing: lines of "cuda DIRECTORY"
#                                            and "headers DIRECTORY", those first that hold what is wanted, after a "+"
#
# CUDA_HOME and TENSORRT_INCLUDE, where set, are taken as they are. PYTHON is the interpreter whose pip downloads.
# CROSS=aarch64 is for a Jetson with JetPack 7 (CUDA 13, SBSA) on another machine: nvcc is that of this machine, the CUDA
# runtime comes from the package index.
set -eu

look=
if [ "$1" = --look ]; then
  look=yes
  shift
fi
build=$1
python=${PYTHON:-python3}

# Pinned together: with nvcc alone pinned, pip takes a newer ptxas back end, which refuses its output.
cuda_packages='nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85'
# Carries NVIDIA's own headers of TensorRT 10.14 (Apache-2.0); the package itself is not used.
header_package='kernel-lens==2.0.1'

say() { printf '%s\n' "$*" >&2; }

give_up() {
  say "error: $1"
  exit 2
}

# The directory that holds bin/nvcc, for an nvcc that may be a link or a wrapper script elsewhere.
home_of() {
  "$1" --dryrun --version 2>&1 | sed -n 's/^#\$ _HERE_=\(.*\)\/bin$/\1/p' | head -n 1
  dirname "$(dirname "$(readlink -f "$1")")"
}

# Where each is looked for, one a line.
cuda_places() {
  if [ -n "${CUDA_HOME:-}" ]; then
    echo "$CUDA_HOME"
    return
  fi
  echo /usr/local/cuda
  if command -v nvcc >/dev/null 2>&1; then home_of "$(command -v nvcc)"; fi
  for home in "$build"/cuda/nvidia/cu[0-9]*; do echo "$home"; done
}

header_places() {
  if [ -n "${TENSORRT_INCLUDE:-}" ]; then
    echo "$TENSORRT_INCLUDE"
    return
  fi
  for directory in "/usr/include/$(uname -m)-linux-gnu" /usr/include /usr/local/tensorrt/include \
      /opt/tensorrt/include /usr/src/tensorrt/include "$build/headers/kernel_lens/include/tensorrt"; do
    echo "$directory"
  done
}

# The first of the directories on standard input that holds a file.
first_with() {
  first=
  while read -r directory; do
    if [ -z "$first" ] && [ -f "$directory/$1" ]; then
      first=$directory
    fi
  done
  [ -z "$first" ] || echo "$first"
}

if [ -n "$look" ]; then
  for what in cuda headers; do
    case $what in
      cuda) places=$(cuda_places) file=bin/nvcc ;;
      headers) places=$(header_places) file=NvInfer.h ;;
    esac
    found=$(printf '%s\n' "$places" | first_with "$file")
    [ -z "$found" ] || echo "+$what $found"
    printf '%s\n' "$places" | sed "s|^|$what |"
  done
  exit
fi
mkdir -p "$build"

find_cuda() {
  if [ -n "${CUDA_HOME:-}" ]; then
    [ -x "$CUDA_HOME/bin/nvcc" ] || give_up "no bin/nvcc in CUDA_HOME=$CUDA_HOME; name the directory of a CUDA toolkit"
  fi
  home=$(cuda_places | first_with bin/nvcc)
  if [ -n "$home" ]; then
    echo "$home"
    return
  fi
  say "no CUDA compiler on this machine: downloading one to $build/cuda (about 130 MB)"
  # shellcheck disable=SC2086
  "$python" -m pip install -q --no-deps --target "$build/cuda" $cuda_packages >&2 || \
    give_up 'the CUDA compiler could not be downloaded; install a CUDA toolkit and name its directory in CUDA_HOME'
  echo "$build"/cuda/nvidia/cu[0-9]*
}

find_headers() {
  if [ -n "${TENSORRT_INCLUDE:-}" ]; then
    [ -f "$TENSORRT_INCLUDE/NvInfer.h" ] || give_up "no NvInfer.h in TENSORRT_INCLUDE=$TENSORRT_INCLUDE; name the directory that has it"
  fi
  directory=$(header_places | first_with NvInfer.h)
  if [ -n "$directory" ]; then
    echo "$directory"
    return
  fi
  say "no TensorRT headers on this machine: downloading those of 10.14 to $build/headers"
  "$python" -m pip download -q --no-deps --dest "$build/headers" "$header_package" >&2 || \
    give_up 'the headers of TensorRT could not be downloaded; name the directory of NvInfer.h in TENSORRT_INCLUDE'
  "$python" -m zipfile -e "$build"/headers/kernel_lens-*.whl "$build/headers"
  echo "$build/headers/kernel_lens/include/tensorrt"
}

cuda=$(find_cuda)
headers=$(find_headers)

# The runtime for the other processor, of this compiler's release.
fetch_cross_runtime() {
  release=$("$cuda/bin/nvcc" --version | sed -n 's/.*release \([0-9]*\.[0-9]*\).*/\1/p')
  case $release in
    1[3-9].*) ;;
    *) give_up "CUDA $release cannot build for JetPack 7, which has CUDA 13; name a toolkit of 13 in CUDA_HOME" ;;
  esac
  "$python" -m pip download -q --no-deps --only-binary=:all: --platform manylinux2014_aarch64 \
    --platform manylinux_2_17_aarch64 --dest "$build/runtime" "nvidia-cuda-runtime==$release.*" >&2 || \
    give_up 'the CUDA runtime for aarch64 could not be downloaded'
  "$python" -m zipfile -e "$build"/runtime/nvidia_cuda_runtime-*.whl "$build/runtime"
}

places="$cuda/lib64 $cuda/lib $cuda/targets/$(uname -m)-linux/lib $cuda/targets/sbsa-linux/lib"
wanted='75 80 86 87 89 90 100 110 120 121'
if [ "${CROSS:-}" = aarch64 ]; then
  wanted='87 90 100 110 121'
  [ -d "$build/runtime/nvidia" ] || fetch_cross_runtime
  places=$(echo "$build"/runtime/nvidia/cu*/lib)
fi
for directory in $places; do
  if [ -f "$directory/libcudart_static.a" ]; then
    library=$directory
    break
  fi
done
[ -n "${library:-}" ] || give_up "no libcudart_static.a below $cuda; install the toolkit's runtime, too"

# Those of the wanted architectures that this compiler knows, and PTX of the newest for cards to come.
known=$("$cuda/bin/nvcc" --list-gpu-arch | sed -n 's/^compute_\([0-9]*\)$/\1/p')
codes=
for arch in ${ARCHS:-$wanted}; do
  if printf '%s\n' "$known" | grep -qx "$arch"; then
    codes="$codes -gencode arch=compute_$arch,code=sm_$arch"
    newest=$arch
  elif [ -n "${ARCHS:-}" ]; then
    give_up "nvcc in $cuda does not know the compute capability $arch, but $(echo $known)"
  fi
done
[ -n "$codes" ] || give_up "nvcc in $cuda knows none of the architectures that are built for"
codes="$codes -gencode arch=compute_$newest,code=compute_$newest"

# These become text of a makefile and of a shell's command lines.
for place in "$cuda" "$library" "$headers"; do
  case $place in
    -* | *[!A-Za-z0-9_./+,@=-]*) give_up "make cannot take the path $place: use one of letters, digits and ._/+,@=- alone" ;;
  esac
done

cat <<MAKE
FOUND_CUDA := $cuda
FOUND_CUDA_LIBRARY := $library
FOUND_TENSORRT_INCLUDE := $headers
FOUND_CODES :=$codes
MAKE
