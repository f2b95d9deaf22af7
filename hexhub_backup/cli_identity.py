"""`--identity FILE`: the key that opens an encrypted copy or file, and `--from`: which copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from hexhub_backup import verbs
from hexhub_backup.cli_base import running, the_app, the_backups, who_is
from hexhub_backup.destinations.encryption import MAX_IDENTITY, Identities
from hexhub_backup.history.models import Who
from hexhub_backup.terminal import Output
from hexhub_backup.verbs.base import Order

F = TypeVar("F", bound=Callable[..., Any])


def identified(function: F) -> F:
    """Add the options of a command that reads an archive: `--identity`, and `--from` as `place`. As
    `key` it gets the order that opened it."""

    @wraps(function)
    def run(
        out: Output, *, identity: str | None, place: str | None, actor: str | None, **values: Any
    ) -> Any:
        name = values["archive"] if "archive" in values else values["backup"]
        with _opened(out, who_is(actor), name, identity, place) as key:
            return function(out, **values, place=place, actor=actor, key=key)

    run = click.option("--from", "place", metavar="NAME", help="The copy at this destination.")(run)
    decorate = identity_option("The private key that opens it, where it is encrypted.")
    return decorate(run)  # type: ignore[return-value]


def identity_option(help_: str, *, required: bool = False) -> Callable[[F], F]:
    """The option itself, whose value is the path of a file."""
    path = click.Path(exists=True, dir_okay=False)
    return click.option("--identity", metavar="FILE", type=path, help=help_, required=required)


def read_identities(path: str) -> Identities:
    """The private keys in a file. Raises WrongKeyError, OSError."""
    with Path(path).open("rb") as file:
        return Identities(file.read(MAX_IDENTITY + 1))


def path_of(order: Order) -> str:
    """What an order reads, for people."""
    place = order.options.get("place")
    path = str(order.options.get("file", order.options["archive"])) if place is None else ""
    return path or f"{order.backup} in {place}"


@contextmanager
def _opened(
    out: Output, who: Who, archive: str, identity: str | None, place: str | None
) -> Iterator[Order | None]:
    """Open an archive with the key of a file: gives the order that did. The file that it made goes
    in the end. None where no key is given, or it is not encrypted. Raises WrongKeyError."""
    if identity is None:
        yield None
        return
    backups, identities = the_backups(), read_identities(identity)
    order = verbs.decrypt.order(backups.history, who, archive, place)
    try:
        if order is not None:
            with running(out):
                backups.orders.run(the_app(), order, identity=identities)
        yield order
    finally:
        if order is not None:
            backups.depot.remove_upload(order.options["archive"])
