"""The options that choose which records of an archive are restored, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from hexhub_backup.operations.choice import STRATEGIES, Choice

F = TypeVar("F", bound=Callable[..., Any])


def choosing(function: F) -> F:
    """Add the options of a choice to a command."""
    for option in reversed(
        (
            click.option(
                "--strategy",
                type=click.Choice(STRATEGIES),
                default="skip",
                show_default=True,
                help="What to do with records that exist and differ.",
            ),
            click.option(
                "--packages",
                metavar="NAME,…",
                multiple=True,
                help="Only these packages, with their releases, files and owners.",
            ),
            click.option("--no-users", is_flag=True, help="Leave out the archive's users."),
            click.option(
                "--grant-protected",
                is_flag=True,
                help="Include protected rights, and replace accounts that hold one.",
            ),
            click.option(
                "--without",
                metavar="OPERATION",
                multiple=True,
                help="Leave out the records that the database refused in this restore.",
            ),
        )
    ):
        function = option(function)
    return function


def choice(
    strategy: Any,
    packages: tuple[str, ...],
    without: tuple[str, ...],
    *,
    no_users: bool,
    grant_protected: bool,
) -> Choice:
    """The choice that the options make."""
    names = [name for text in packages for name in text.replace(",", " ").split()]
    return Choice(
        strategy=strategy,
        protected=grant_protected,
        users=not no_users,
        packages=tuple(sorted(set(names))) if packages else None,
        without=tuple(sorted(set(without))),
    )
