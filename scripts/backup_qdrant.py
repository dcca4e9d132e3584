#!/usr/bin/env python3
"""The guide's backup command: `python scripts/backup_qdrant.py [--output DIR] [--include-logs]`."""

import sys

from in_project import run

if __name__ == "__main__":
    run(["backup", *sys.argv[1:]])
