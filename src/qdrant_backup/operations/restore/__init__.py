"""Restore, undo and resume: a target holds its new content, or its previous content, or the report says neither.

    from qdrant_backup.operations import restore

    restore.requests.RestoreRequest(reference, collections=(), rename={}, replace=False, restore_config=False,
        no_safety=False, allow_version=False, allow_writers=False, allow_unverified=False)
    restore.run.prepare(request, ports) -> (Facts, RestorePlan)     verifies the backup, then connects; changes nothing
    restore.plan.to_json(plan) -> bytes, plan_lines(plan) -> list[str]      and `plan.blockers`
    restore.plan.refuse_blocked(plan) -> None               raises what stands in the way (after --dry-run has printed)
    restore.run.run(plan, facts, ports) -> RestoreReport    takes the lock; safety, journal, apply, verify, commit
    restore.run.restore(request, ports, confirm) -> RestoreReport     all of it; `confirm(plan) -> bool` is asked once

    restore.undo.plan_undo(ports) -> UndoPlan               what `undo` would do: an open journal, or the last restore
    restore.undo.undo(ports, UndoRequest(force_changes=False, allow_unverified=False)) -> RestoreReport
    restore.resume.plan_resume(ports) -> ResumePlan
    restore.resume.resume(ports) -> RestoreReport
    operations.open_journal.refuse_open_journal(ports, names=None)      raises RefusedForSafety
    restore.expiry.expire_safety(ports, lock, days) -> tuple[BackupId, ...]

A restore that fails raises `CollectionFailed` (4) once everything is put back; `.outcomes` holds (target, outcome) pairs,
and each was told as `OutcomeKnown`. `RefusedForSafety` (a writer was noticed) and `Interrupted` keep their class; they
too come after the roll-back. `RestoreReport.config_failure` is set where the collections are restored and a config file
is not: print the report, then raise it.

How the modules fit, lowest first:

    requests, outcome       values
    differences, plan       values: what differs, what will be done
    source                  a backup, verified byte by byte
    live                    what stands on the server, fingerprints, bounded waits
    session                 one run: ports, journal on disk, lock
    blocking, planning      pure: what stands in the way, what will be done
    checks                  what a target must be after an apply: replicas, indexes, config, content
    applying, putting_back  forwards, and back to an exact earlier state
    safety, rollback        the safety copy; everything put back
    forward                 every target to its new content
    survey, run, undo, resume, expiry
"""

from __future__ import annotations
