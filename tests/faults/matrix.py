"""The fault matrix: every fault that must not lose anything, what it may end in, and which promises are checked.

The one place that says which rows there are and which of them wait for something that does not exist yet. A row is
proven by cases (`harness/case.py`) and by tests elsewhere that carry `@pytest.mark.fault("P01")`; `test_matrix.py`
fails when a row that is not pending has neither.
"""

from __future__ import annotations

import dataclasses

__all__ = ["ROWS", "Row", "pending"]

REPOSITORY = "needs a repository (`init`), which does not exist yet"
ENCRYPTION = "needs encryption, which does not exist yet"


@dataclasses.dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        id: its name in the matrix.
        fault: what goes wrong.
        guarantees: the promises of docs/reliability.md that are checked after every case of it.
        quick: it is part of `make test`; the others run in `make faults` alone.
        pending: why no case of it can exist yet; empty for a row that must be proven.
    """

    id: str
    fault: str
    guarantees: tuple[str, ...] = ()
    quick: bool = False
    pending: str = ""


def _row(name: str, guarantees: str, fault: str, pending: str = "") -> Row:
    return Row(name.rstrip("*"), fault, tuple(guarantees.split()), name.endswith("*"), pending)


ROWS: dict[str, Row] = {
    row.id: row
    for row in (
        _row("N01*", "G2 G3 G4", "the server refuses, or its name is unknown"),
        _row("N02", "G3 G7", "the server accepts and never answers, on each route"),
        _row("N03*", "G1 G3", "a download is reset or closed early, at its first, second, middle and last byte"),
        _row("N04*", "G3", "a cut body without a length; a compressed body that claims to be whole"),
        _row("N05*", "G3", "one byte of a download is another, at the same length"),
        _row("N06", "G7", "one byte a second, against slow but alive"),
        _row("N07*", "G1 G5", "the answer to a creation is lost after it was done"),
        _row("N08", "G5", "502, 503, 504 and 429 with Retry-After, on each route"),
        _row("N09*", "G4", "413, and the connection closes, while an upload is sent"),
        _row("N10", "G3", "a web page with status 200, or other JSON, on each route"),
        _row("N11*", "G6", "a redirect to another host"),
        _row("N12", "", "a port that speaks gRPC, or nonsense"),
        _row("N13", "G6", "TLS: expired, another name, an unknown authority, plain against TLS"),
        _row("N14", "G1 G3 G7", "one connection in ten is reset, with 50 collections"),
        _row("Q01*", "G4", "401 and 403, on one route at a time"),
        _row("Q02", "G3 G5", "500 'No space left on device' when a snapshot is made"),
        _row("Q03", "G3", "a snapshot without its shards"),
        _row("Q04", "G1 G3", "several nodes behind one address; a node of a cluster is down"),
        _row("Q05*", "G4", "restored, but shards are partial, dead or not ready"),
        _row("Q06*", "G4", "restored, but points are missing or others"),
        _row("Q07*", "G4", "500 after the old data was dropped"),
        _row("Q08*", "G4", "the same, and putting back fails too"),
        _row("Q09", "G4", "the server is killed in the middle of a recovery"),
        _row("Q10*", "G4", "failure at the third of five collections"),
        _row("Q11*", "G4", "the snapshot is newer, or two minor versions older"),
        _row("Q12*", "G4", "the target has other vectors, sparse vectors, shards or sharding"),
        _row("Q13*", "G1", "payload indexes are absent after a recovery"),
        _row("Q14", "G4", "aliases are missing, or belong to another collection"),
        _row("Q15", "G1", "collections come and go during a run; writers never stop"),
        _row("Q16", "G1", "the checksum of a snapshot is null, or wrong"),
        _row("Q17", "G1", "a snapshot's name is used again within the same second"),
        _row("Q18", "G5", "our snapshot cannot be deleted; others' snapshots are listed"),
        _row("Q19", "G7", "bodies of a gigabyte, deep or doubled JSON, NaN, endless numbers"),
        _row("Q20", "G1", "names: unicode, `%2F`, `..`, 197 bytes, escape codes, twins but for case"),
        _row("Q21", "G2", "the source is degraded: no schema, zero vectors, half the points gone"),
        _row("D01*", "G2 G3", "the disk is full at every step; no inodes are left"),
        _row("D02*", "G3", "the disk is full for the manifest alone"),
        _row("D03*", "G2 G3", "an I/O error at the Nth write, fsync, close, rename, directory fsync"),
        _row("D04", "G4", "an I/O error while reading"),
        _row("D05", "G1", "short writes, EINTR, EAGAIN"),
        _row("D06", "G3", "file too large; quota used up"),
        _row("D07", "G2", "read-only, no access, not permitted"),
        _row("D08", "G1", "temporary files on another filesystem"),
        _row("D09", "G2 G3", "power cut: what was not synchronised is lost"),
        _row("D10", "G3", "the disk is unmounted, or the directory deleted, during a run"),
        _row("D11", "G7", "20 file handles; 256 MB of address space and a 2 GB sparse snapshot"),
        _row("P01*", "G2 G3", "SIGKILL at every system call of a backup"),
        _row("P02*", "G4", "SIGKILL at random moments of a restore"),
        _row("P03", "G2 G3", "SIGKILL at every system call of a prune"),
        _row("P04", "G3 G4", "SIGINT, SIGTERM and SIGHUP at each stage, twice"),
        _row("P05", "G1", "standard output is closed, is no terminal, or is full"),
        _row("P06*", "G1 G2", "two backups at once"),
        _row("P07", "G2", "backup, prune, verify and restore at once"),
        _row("P08", "G2 G3", "locks left by killed runs, of reused process ids, of other hosts; a stopped holder"),
        _row("P09", "G2", "the clock is ten days back, repeats an hour, is in 2038, leaps a year"),
        _row("P10*", "G2", "only failed runs for thirty days, then prune"),
        _row("H01*", "G1", "a bit is flipped, or a file cut, in every kind of file"),
        _row("H02*", "G1", "a file is missing, extra, or swapped between backups"),
        _row("H03*", "G6", "a manifest that names `../.env`, `/etc/x`, or a link"),
        _row("H04", "G1", "manifest and hashes rewritten by an attacker", REPOSITORY),
        _row("H05", "G2", "the newest backup removed, an old one posed as the latest; backups from the future"),
        _row(
            "H06*", "G4 G7", "archives with links, devices, `..`, absolute, doubled, pax-tricked, huge sparse members"
        ),
        _row("H07", "G7", "bombs: a huge or future manifest, unknown fields, huge archives"),
        _row("H08", "G4", "a link planted where a config file is restored"),
        _row("H09", "G6", "a wrong passphrase, a damaged or lost key file", ENCRYPTION),
        _row("S01*", "G6", "planted secrets, through every command and failure"),
        _row("S02", "G6", "a key over plain http to another host"),
        _row("S03*", "G6", "umask 000"),
        _row("S04", "G2", "a store that refuses to delete"),
        _row("S05", "G1", "a scoped key; a read-only key"),
        _row("S06", "G6", "`.env` is asked for without encryption"),
    )
}


def pending() -> dict[str, str]:
    """The rows that wait, and for what."""
    return {row.id: row.pending for row in ROWS.values() if row.pending}
