#!/usr/bin/env bash
# Generates the Python client of TorchServe's gRPC API into a folder: examples/grpc/generate.sh FOLDER
# Needs the PyPI package grpcio-tools, in the Python that PYTHON names.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$1"
"${PYTHON:-python3}" -m grpc_tools.protoc --proto_path="$here" --python_out="$1" --grpc_python_out="$1" \
  inference.proto google/rpc/status.proto
