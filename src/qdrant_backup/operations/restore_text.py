"""`RESTORE.txt`: how to restore this very backup with `curl` alone, when this tool is gone. Pure."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote

from qdrant_backup.layout import CHECKSUMS

if TYPE_CHECKING:
    from qdrant_backup.manifest import CollectionEntry, Manifest

__all__ = ["restore_text"]

_HEAD = """\
# How to restore this backup by hand, with curl and sh alone.
#
# Each upload REPLACES the collection of that name on the server, or creates it. Qdrant {version} made this backup;
# restore it on the same or the next minor version. Run the commands in this directory, first of all:

sha256sum -c {checksums}
QDRANT_URL="${{QDRANT_URL:-http://{host}:{port}}}"
# Where the server wants a key, set it first: QDRANT_API_KEY="your-key-here"
# It reaches curl through a pipe, so that no other user of this machine can read it in the list of running commands.
qdrant() {{
  printf 'header = "api-key: %s"\\n' "${{QDRANT_API_KEY:-}}" | curl -K - --fail-with-body -sS "$@" && echo
}}

"""


def restore_text(manifest: Manifest) -> str:
    """The file's text; its lines that do not begin with `#` are a script for `sh`."""
    version = manifest.server.version if manifest.server else "of an unknown version"
    head = _HEAD.format(
        version=version, checksums=CHECKSUMS, host=_host(manifest.qdrant_host), port=manifest.qdrant_port
    )
    collections = [_collection(entry) for entry in manifest.collections.values()]
    aliases = [_alias(alias, name) for alias, name in manifest.aliases.items() if name in manifest.collections]
    return head + "\n".join([*collections, *aliases]) + "\n"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _call(method: str, path: str, *rest: str) -> str:
    return f'qdrant -X {method} "$QDRANT_URL"{shlex.quote(path)} {" ".join(rest)}'.rstrip() + "\n"


def _collection(entry: CollectionEntry) -> str:
    path = f"/collections/{quote(entry.name, safe='')}"
    checksum = f"&checksum={entry.sha256}" if entry.sha256 else ""
    # The form's file name becomes the name under which the server keeps the upload; a fixed ASCII one is always allowed.
    form = shlex.quote(f"snapshot=@{entry.snapshot};filename=restored-by-hand.snapshot")
    lines = [
        f"# {_comment(entry.name)}: {entry.records} points",
        _call("POST", f"{path}/snapshots/upload?wait=true&priority=snapshot{checksum}", "-F", form),
        "# the server keeps what was uploaded; this removes it",
        _call("DELETE", f"{path}/snapshots/restored-by-hand.snapshot?wait=true"),
    ]
    return "\n".join(lines)


def _alias(alias: str, collection: str) -> str:
    action = {"create_alias": {"alias_name": alias, "collection_name": collection}}
    body = shlex.quote(json.dumps({"actions": [action]}))
    return _call("POST", "/collections/aliases", "-H", "'Content-Type: application/json'", "--data", body)


def _comment(name: str) -> str:
    return name if name.isprintable() else repr(name)
