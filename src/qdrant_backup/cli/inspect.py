"""`list`, `show` and `verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qdrant_backup.cli.console import visible
from qdrant_backup.cli.options import json_option, settings_options
from qdrant_backup.cli.tables import table
from qdrant_backup.cli.wiring import Wiring
from qdrant_backup.errors import BackupNotFound, ContentUnreadable
from qdrant_backup.model import human_size
from qdrant_backup.operations import listing
from qdrant_backup.storage.catalogue import Level

if TYPE_CHECKING:
    from qdrant_backup.cli.console import Console
    from qdrant_backup.operations.listing import Listed, Overview
    from qdrant_backup.operations.verify import Verdict

__all__ = ["list_backups", "show", "verify"]

_RIGHT = frozenset({2, 3, 4})


@click.command("list")
@click.option("--safety", is_flag=True, help="The safety backups of restores instead of the ordinary ones.")
@settings_options
@json_option
@click.pass_obj
def list_backups(invocation: Any, **flags: Any) -> None:
    """List the backups of the backup directory, newest first."""
    wiring = Wiring(invocation, flags)
    overview = listing.list_backups(wiring.directory, safety=flags["safety"])
    _warn(wiring.console, overview)
    if flags["as_json"]:
        wiring.console.json([listing.list_json(entry) for entry in overview.listed])
        return
    if not overview.listed:
        wiring.console.line(f"  No backups in {visible(str(wiring.directory.root))}")
        return
    rows = [_row(entry) for entry in overview.listed]
    head = ["ID", "FINISHED (UTC)", "COLLECTIONS", "RECORDS", "SIZE", "LEVEL", ""]
    for line in table(head, rows, right=_RIGHT):
        wiring.console.line(line)


def _row(entry: Listed) -> list[str]:
    backup = entry.backup
    manifest = backup.manifest
    unverified = any(collection.unverified for collection in manifest.collections.values())
    remarks = [
        *(["original scripts"] if manifest.by_original_scripts else []),
        *(["content unverified"] if unverified else []),
        *([f"proven restorable {entry.restorable.at:%Y-%m-%d}"] if entry.restorable else []),
        *([f"pinned: {entry.pinned}"] if entry.pinned else []),
    ]
    return [
        backup.backup_id,
        f"{backup.finished_at:%Y-%m-%d %H:%M:%S}",
        str(len(manifest.collections)),
        str(manifest.records),
        human_size(backup.size_bytes),
        entry.level,
        ", ".join(remarks),
    ]


def _warn(console: Console, overview: Overview) -> None:
    for invalid in overview.invalid:
        console.warning(f"{invalid.path} is not a backup: {invalid.error.why or invalid.error.what}")
    if overview.catalogue_error is not None:
        console.warning(listing.levels_unknown(overview.catalogue_error))


@click.command()
@click.argument("backup", default="latest")
@settings_options
@json_option
@click.pass_obj
def show(invocation: Any, backup: str, **flags: Any) -> None:
    """Show what BACKUP (a path, an id, a unique prefix, or `latest`) holds."""
    wiring = Wiring(invocation, flags)
    entry = listing.look_at(wiring.directory, backup)
    if entry.catalogue_error is not None:
        wiring.console.warning(listing.levels_unknown(entry.catalogue_error))
    if flags["as_json"]:
        wiring.console.json(listing.show_json(entry))
        return
    for line in _shown(entry):
        wiring.console.line(line)


def _shown(entry: Listed) -> list[str]:
    from qdrant_backup.cli.lines import proven_restorable  # `list` must not pay for it: start-up has a budget

    manifest = entry.backup.manifest
    server = f"Qdrant {manifest.server.version}" if manifest.server else "Qdrant of an unknown version"
    proven = f", proven {entry.proven_at}" if entry.proven_at else ""
    rows = [
        [
            name,
            str(collection.records),
            human_size(collection.size_bytes),
            collection.method or "snapshot",
            collection.unverified and f"content unverified: {collection.unverified}",
        ]
        for name, collection in manifest.collections.items()
    ]
    return [
        f"  Backup: {visible(str(entry.backup.path))}",
        f"  Finished: {entry.backup.finished_at:%Y-%m-%d %H:%M:%S} UTC",
        f"  Kind: {manifest.kind}",
        f"  Level: {entry.level}{proven}",
        f"  {proven_restorable(entry)}",
        f"  Server: {server} at {visible(manifest.qdrant_host)}:{manifest.qdrant_port}",
        f"  AI Memory: {visible(manifest.ai_memory_version)}",
        f"  Size: {human_size(entry.backup.size_bytes)}",
        "",
        *table(["COLLECTION", "RECORDS", "SIZE", "METHOD", ""], rows, right=frozenset({1, 2})),
        *(["", "  Aliases:"] if manifest.aliases else []),
        *(f"    {visible(alias)} → {visible(name)}" for alias, name in manifest.aliases.items()),
        *(["", "  Config files:"] if manifest.config_files else []),
        *(f"    {visible(name)}" for name in manifest.config_files),
        *(f"  ! {visible(warning)}" for warning in listing.warnings_of(entry.backup)),
    ]


@click.command()
@click.argument("backups", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every backup of the backup directory.")
@click.option("--content", is_flag=True, help="Open each snapshot in the embedded engine and compare every point.")
@settings_options
@json_option
@click.pass_obj
def verify(invocation: Any, backups: tuple[str, ...], **flags: Any) -> None:
    """Prove that BACKUPS (default: `latest`) are whole: every byte, and every archive's structure.

    Ends with 5 when one is damaged, and with 7 when `--content` could not judge one.
    """
    from qdrant_backup.cli.lines import aside
    from qdrant_backup.operations.verify import verify as verify_one

    wiring = Wiring(invocation, flags)
    directory = wiring.directory
    chosen = directory.survey().backups if flags["every"] else [directory.find(name) for name in backups or ("latest",)]
    if not chosen:
        raise BackupNotFound(f"there is no backup in {directory.root}")
    level = Level.CONTENT if flags["content"] else Level.ARCHIVE
    verdicts: list[Verdict] = []
    with wiring.ports(lambda event: aside(wiring.console, event)) as ports:
        for backup in chosen:
            try:
                verdict = verify_one(backup, level, ports)
            except BackupNotFound as error:
                if not flags["every"]:
                    raise
                wiring.console.warning(str(error))
                continue
            verdicts.append(verdict)
            if not flags["as_json"]:
                _print(wiring.console, verdict)
    if flags["as_json"]:
        wiring.console.json({"level": level.value, "backups": [_verdict_json(verdict) for verdict in verdicts]})
    _raise_for(verdicts)


def _print(console: Console, verdict: Verdict) -> None:
    manifest = verdict.backup.manifest
    mark = "✓" if verdict.passed else "✗" if verdict.damage else "!"
    what = f"{len(manifest.collections)} collections, {manifest.records} records"
    outcome = (
        f"{verdict.level.value} verified" if verdict.passed else "damaged" if verdict.damage else "not all verified"
    )
    console.line(f"  {mark} {visible(verdict.backup.backup_id)}: {outcome} ({what})")
    for text in (*verdict.damage, *verdict.unjudged, *verdict.remarks):
        console.line(f"      {visible(text)}")


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "id": verdict.backup.backup_id,
        "path": str(verdict.backup.path),
        "passed": verdict.passed,
        "damage": list(verdict.damage),
        "unjudged": list(verdict.unjudged),
        "remarks": list(verdict.remarks),
    }


def _raise_for(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        verdict.raise_for_damage()
    for verdict in verdicts:
        if verdict.unjudged:
            raise ContentUnreadable(
                f"the content of backup {verdict.backup.backup_id} could not be verified",
                why="; ".join(verdict.unjudged),
                advice="Its bytes and archives are whole. Only a drill on a server that reads it can prove more.",
            )
