"""The verbs: what can be done, each in one file. A new verb is a new file, and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from hexhub_backup.verbs import (
    bring_back,
    compare,
    copy,
    create,
    decrypt,
    delete_copies,
    doctor,
    inspect,
    prune,
    rehearse,
    restore,
    scan,
    undo,
    verify,
    verify_all,
)
from hexhub_backup.verbs.base import Verb

VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        create.CREATE,
        decrypt.DECRYPT,
        copy.COPY,
        bring_back.BRING_BACK,
        delete_copies.DELETE_COPIES,
        verify.VERIFY,
        compare.COMPARE,
        verify_all.VERIFY_ALL,
        doctor.DOCTOR,
        inspect.INSPECT,
        restore.RESTORE,
        undo.UNDO,
        rehearse.REHEARSE,
        prune.PRUNE,
        scan.SCAN,
    )
}
