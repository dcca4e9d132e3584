#!/usr/bin/env python3
"""The guide's restore command: `python scripts/restore_qdrant.py BACKUP [--restore-config] [--force]`."""

import sys

from in_project import run

if __name__ == "__main__":
    run(["restore", *sys.argv[1:]])
