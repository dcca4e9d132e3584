"""A workbench and a command line on each server."""

from __future__ import annotations

from support.workbench import embedded, embedded_line, lab, line, relay_to

__all__ = ["embedded", "embedded_line", "lab", "line", "relay_to"]
