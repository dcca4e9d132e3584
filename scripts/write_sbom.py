"""Write a software bill of materials (CycloneDX 1.6, JSON) of what `requirements.lock` pins: `write_sbom.py FILE`.

The same lock gives the same bytes: there is no date in it, and its serial number comes from its content.
"""

from __future__ import annotations

# The library's decorators hide its classes' constructors and attributes from the type checker.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false
import hashlib
import json
import re
import sys
import uuid
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
NAMESPACE = uuid.UUID("6f0c4c8e-6d0f-5a53-9f0b-6a3c4b1e2d70")
_PINNED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)\s*(?:;\s*(.*?))?\s*(?=--hash|$)")


def normal(name):
    """A package's name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=;! ]", name, maxsplit=1)[0]).lower()


def locked(text):
    """(name, version, marker, hashes) of each line of a lock, in its order."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _PINNED.match(line)
        if match is None:
            raise ValueError("the lock has a line that pins nothing: " + line)
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
        found.append((normal(match[1]), match[2], match[3] or "", hashes))
    return found


def _component(name, version, marker, hashes, *, building):
    purl = PackageURL("pypi", None, name, version)
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=purl.to_string(),
        purl=purl,
        # The build tool is in the lock, and in nobody's installation.
        scope=ComponentScope.EXCLUDED if name in building else ComponentScope.REQUIRED,
        # One for each file that the lock accepts: a wheel for each platform, and the source.
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=text) for text in hashes],
        properties=[Property(name="python:environment-marker", value=marker)] if marker else [],
    )


def sbom(project, lock):
    """The document's text.

    Args:
        project: `pyproject.toml`, decoded.
        lock: the text of `requirements.lock`.
    """
    own = project["project"]
    purl = PackageURL("pypi", None, own["name"], own["version"])
    root = Component(
        type=ComponentType.APPLICATION,
        name=own["name"],
        version=own["version"],
        description=own["description"],
        bom_ref=purl.to_string(),
        purl=purl,
        licenses=[LicenseExpression(own["license"])],
    )
    direct = {normal(text) for text in own["dependencies"]}
    building = {normal(text) for text in project["dependency-groups"]["build"]}
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, hashlib.sha256((repr(own) + lock).encode()).hexdigest()))
    bom.metadata.component = root
    components = [_component(*line, building=building) for line in locked(lock)]
    bom.components.update(components)
    bom.register_dependency(root, [each for each in components if each.name in direct])
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    document = json.loads(text)
    document["metadata"].pop("timestamp", None)
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main(arguments):
    """Write the document to the file that is named."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    [target] = arguments
    text = sbom(project, LOCK.read_text("utf-8"))
    Path(target).write_text(text, "utf-8")
    print("Wrote %s: %d packages" % (target, len(json.loads(text)["components"])))


if __name__ == "__main__":
    main(sys.argv[1:])
