"""What must hold before a release: nothing known to be vulnerable, a bill of materials, a wheel that installs and runs.

`check_release.py DIRECTORY` writes the source archive, the wheel and `sbom.cdx.json` there, which must not exist before.
It ends with 1 when a step fails. A step that cannot be done has failed: an audit that reached no advisory database
proves nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

import write_sbom

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S = 900


class StepFailed(Exception):
    """A step that failed, in a sentence."""


def run(*words, **options):
    """Run a program to its end; StepFailed when it fails."""
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False, **options)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise StepFailed("%s ended with %d:\n%s" % (Path(words[0]).name, done.returncode, "\n".join(last)))
    return done.stdout


def verdict(report):
    """What is wrong with what an audit says, one sentence each.

    Args:
        report: pip-audit's JSON, decoded.
    """
    wrong = []
    skipped = [each["name"] for each in report["dependencies"] if "skip_reason" in each]
    if skipped or not report["dependencies"]:
        wrong.append(
            "the advisory database knows nothing of %s: it was not reached, and nothing is proven"
            % (", ".join(skipped) or "any package")
        )
    for each in report["dependencies"]:
        for found in each.get("vulns", []):
            mended = ", ".join(found.get("fix_versions", [])) or "no version yet"
            wrong.append("%s %s has %s, mended in %s" % (each["name"], each["version"], found["id"], mended))
    return wrong


def audit():
    """Ask for the known vulnerabilities of what is locked."""
    words = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json"]
    words += ["--progress-spinner", "off", "-r", "requirements.lock"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise StepFailed("the audit did not take place: %s" % last[0]) from None
    wrong = verdict(report)
    if wrong:
        raise StepFailed("\n".join(wrong))
    return "%d packages, nothing known against them" % len(report["dependencies"])


def built(directory):
    """The source archive and the wheel in `directory`, built twice to see that they come out the same."""
    build = "import sys, uv_build; print(getattr(uv_build, sys.argv[1])(sys.argv[2]))"
    # uv_build looks for its own program on PATH.
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    made = []
    for kind in ("build_sdist", "build_wheel"):
        with tempfile.TemporaryDirectory() as again:
            for target in (directory, again):
                said = run(sys.executable, "-c", build, kind, str(target), env=environment)
            name = said.split()[-1]
            hashes = {hashlib.sha256((Path(place) / name).read_bytes()).hexdigest() for place in (directory, again)}
        if len(hashes) != 1:
            raise StepFailed("%s comes out different when it is built again" % name)
        made.append(directory / name)
    return made


def foreign_files(wheel):
    """What a wheel of ours must not hold."""
    names = zipfile.ZipFile(wheel).namelist()
    return [name for name in names if not name.startswith("qdrant_backup") or name.endswith((".pyc", ".env"))]


def installed(wheel):
    """Install the wheel as a user would, with exactly what is locked, and let it say its version."""
    foreign = foreign_files(wheel)
    if foreign:
        raise StepFailed("the wheel holds %s" % ", ".join(foreign))
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        programs = Path(directory) / ("Scripts" if os.name == "nt" else "bin")
        pip = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        run(*pip, "--require-hashes", "-r", "requirements.lock")
        run(*pip, "--no-deps", str(wheel))
        run(str(programs / "python"), "-m", "pip", "check")
        environment = {"PATH": str(programs), "HOME": directory}
        said = run(str(programs / "qdrant-backup"), "--version", env=environment).strip()
        run(str(programs / "qdrant-backup"), "--help", env=environment)
    version = wheel.name.split("-")[1]
    if version not in said:
        raise StepFailed("the wheel of %s says %r" % (version, said))
    return said


def succeeded(name, step):
    """Take a step and say how it went."""
    try:
        print("✓ %s: %s" % (name, step()), flush=True)
    except StepFailed as error:
        print("✗ %s: %s" % (name, error), flush=True)
        return False
    return True


def main(arguments):
    """Every step, also after one that failed; the number of those that did not succeed decides the exit code."""
    [named] = arguments
    directory = Path(named).absolute()
    directory.mkdir(parents=True)
    wheels = []

    def build():
        made = built(directory)
        wheels.append(made[-1])
        return ", ".join(path.name for path in made)

    def materials():
        write_sbom.main([str(directory / "sbom.cdx.json")])
        return "sbom.cdx.json"

    def install():
        if not wheels:
            raise StepFailed("there is no wheel")
        return installed(wheels[0])

    steps = (("audit", audit), ("bill of materials", materials), ("build", build), ("install", install))
    failed = sum(not succeeded(name, step) for name, step in steps)
    print("Ready for a release." if not failed else "NOT ready for a release: %d step(s) failed." % failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
