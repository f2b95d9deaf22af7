"""`flask backups keys …`: the command about the keys that copies are encrypted to."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from hexhub_backup.cli_base import acting, command, the_backups, who_is
from hexhub_backup.cli_identity import identity_option, read_identities
from hexhub_backup.history.store import utc_now
from hexhub_backup.terminal import Output
from hexhub_backup.watching.keys import Proof

keys = AppGroup("keys", help="The keys that copies are encrypted to.")


@command("check", group=keys)
@identity_option("The private key.", required=True)
@acting
def check(out: Output, *, identity: str, actor: str | None) -> dict[str, Any]:
    """Prove that a private key opens the copies, and remember it. Exits with 1 where it does not
    open a copy that is encrypted to it."""
    identities = read_identities(identity)
    proofs = the_backups().keys.check(identities, who_is(actor), utc_now())
    out.print(*map(_words, proofs))
    document = {"places": [vars(each) for each in proofs]}
    if any(each.opened is False for each in proofs):
        out.print_document(document)
        raise click.exceptions.Exit(1)
    return document


def _words(proof: Proof) -> str:
    if not proof.proved:
        return f"{proof.place}: not opened. It is encrypted to {', '.join(proof.recipients)}."
    said = f"{proof.place}: proved, it opens what is encrypted to {', '.join(proof.proved)}."
    if proof.backup is None:
        return f"{said} There is no copy yet."
    if proof.opened:
        return f"{said} It opens the newest copy, that of backup {proof.backup}."
    tried = "is not opened" if proof.opened is False else "was not tried"
    return f"{said} The newest copy, that of backup {proof.backup}, {tried}: {proof.reason}"
