"""Runs `qdrant-backup` from whichever Python called a script here.

The guide says `python scripts/backup_qdrant.py`, and people have a virtual environment active, or another one, or none.
Where the calling Python has no qdrant_backup, the script starts once more in the project's own `.venv`; where that has
none either, it says how to install. Any Python 3 must be able to parse these files: an old one gets a sentence, not a
SyntaxError.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GUARD = "QDRANT_BACKUP_SCRIPT_RESTARTED"
USAGE = 64
HOW = "qdrant-backup cannot start ({}). Run `make install` in {}, or `pip install {}`, and try again."


def project_python():
    """The Python of the project's .venv, or None where `make install` has not been run."""
    if os.name == "nt":
        python = os.path.join(ROOT, ".venv", "Scripts", "python.exe")
    else:
        python = os.path.join(ROOT, ".venv", "bin", "python")
    return python if os.path.exists(python) else None


def hindrance():
    """Why this Python cannot run the package; None where it can."""
    if sys.version_info < (3, 10):
        return "Python {}.{} is older than 3.10".format(*sys.version_info)
    try:
        import qdrant_backup.cli.main  # noqa: F401 - only whether it can be imported matters
    except ImportError as error:
        return str(error)
    return None


def restart(python):
    """Start this script again with another Python, and end as that one ends."""
    os.environ[GUARD] = "1"
    command = [python, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    if os.name == "nt":
        # Windows has no exec that keeps the console: the shell would take the parent's end for the command's
        sys.exit(subprocess.call(command))
    os.execv(python, command)


def run(arguments):
    """Run the command line `qdrant-backup ARGUMENTS` and exit with its code; 64 where it is not installed.

    Backups go to this repository's own `backups/`, as the guide says, wherever the script is called from.
    """
    restarted = os.environ.pop(GUARD, None) is not None
    why = hindrance()
    if why is None:
        from qdrant_backup.cli.main import main

        main(arguments, repository=ROOT)
    python = project_python()
    if python and not restarted:
        restart(python)
    sys.stderr.write(HOW.format(why, ROOT, ROOT) + "\n")
    sys.exit(USAGE)
