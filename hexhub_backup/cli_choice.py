"""The options that choose which records of an archive are restored, and how."""

from __future__ import annotations

import shlex
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
            click.option(
                "--releases",
                metavar="NAME@VERSION,…",
                multiple=True,
                help="Only these releases, with their files.",
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
    releases: tuple[str, ...],
    without: tuple[str, ...],
    *,
    no_users: bool,
    grant_protected: bool,
) -> Choice:
    """The choice that the options make. Raises click.BadParameter for a release without a
    version."""
    return Choice(
        strategy=strategy,
        protected=grant_protected,
        users=not no_users,
        packages=_names(packages) if packages else None,
        releases=tuple(map(_release, _names(releases))),
        without=tuple(sorted(set(without))),
    )


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({name for text in texts for name in text.replace(",", " ").split()}))


def _release(text: str) -> tuple[str, str]:
    package, at, version = text.rpartition("@")
    if not (package and at and version):
        raise click.BadParameter(f"{text} names no release: write NAME@VERSION.")
    return package, version


def restoring(backup: str, choice: Choice) -> str:
    """The command that restores some releases alone, without users."""
    releases = ",".join("@".join(key) for key in choice.releases)
    strategy = f" --strategy {choice.strategy}" if choice.overwrite else ""
    names = shlex.quote(releases)
    return f"flask backups restore {backup} --releases {names} --no-users{strategy}"
