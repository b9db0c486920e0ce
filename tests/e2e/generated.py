"""The gRPC client, generated from the vendored proto files as docs/api.md says."""

import os
import subprocess
import sys


def generate(folder):
    """Generate it into *folder*; returns the folder."""
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run(["examples/grpc/generate.sh", folder], env=environment, check=True)
    return folder
