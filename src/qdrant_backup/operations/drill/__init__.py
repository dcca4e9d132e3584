"""Drills: a backup is opened, or restored into scratch collections of a server, and everything about it is asserted.

How the modules fit, lowest first:

    report      values: checks, their outcomes, the report and the level that it proves
    golden      asks golden queries and judges the answers
    matching    pure: counts, config, payload indexes, shards and aliases against the manifest
    embedded    a drill in the embedded engine
    scratch     scratch collections of a server: written down first, removed on every way out
    restoring   a drill that restores into a server
    run         either of them, and what the catalogue remembers of it
    record      golden queries recorded, listed and forgotten
"""

from __future__ import annotations
