#!/usr/bin/python3
"""Writes what stands in for the made-up pins whose names begin with `cloud`."""

import sys
from pathlib import Path

name, version, file = sys.argv[1:]
Path(file).write_text(f"stands in for {name} {version}\n")
