"""The registry's own commands: the first administrator, and data to try things with."""

from __future__ import annotations

import click
from flask.cli import with_appcontext
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug.security import generate_password_hash

from examples.host_app import api_keys
from examples.host_app import seed as seeding
from examples.host_app.audit import record_audit_event
from examples.host_app.models import User, db, now


@click.command("create-admin")
@click.argument("name")
@click.option("--email", help="Mail address.  [default: NAME@localhost]")
@click.option(
    "--password",
    prompt=True,
    hide_input=True,
    confirmation_prompt=True,
    help="Asked for where it is not given.",
)
@with_appcontext
def create_admin(name: str, email: str | None, password: str) -> None:
    """Create an account NAME that may do everything."""
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= 255:
        raise click.ClickException(
            "A user name has 1 to 255 printable characters, and no space around them. "
            "Choose another one."
        )
    if not password:
        raise click.ClickException("The password is empty. Give one.")
    db.session.add(
        User(
            username=name,
            email=email or f"{name}@localhost",
            password_hash=generate_password_hash(password),
            is_admin=True,
        )
    )
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise click.ClickException(
            f"There is an account with the name {name} or the mail address "
            f"{email or f'{name}@localhost'} already. Choose another one."
        ) from None
    record_audit_event("user.created", actor="cli", details={"username": name, "admin": True})
    click.echo(f"Administrator {name} is ready to sign in.")


@click.command("create-key")
@click.argument("name")
@with_appcontext
def create_key(name: str) -> None:
    """Create an API key of the account NAME. Keys are in no backup: a registry that was restored
    elsewhere needs new ones."""
    user = db.session.scalar(select(User).where(User.username == name))
    if user is None:
        raise click.ClickException(f"There is no account {name}. Name one that there is.")
    key = api_keys.create(user, f"command line, {now()}")
    db.session.commit()
    record_audit_event("key.created", actor="cli", details={"username": name})
    click.echo(key)


@click.command()
@click.option("--users", default=12, show_default=True, type=click.IntRange(min=1),
              help="Accounts, the administrator among them.")  # fmt: skip
@click.option("--packages", default=24, show_default=True, type=click.IntRange(min=0),
              help="Packages published here; up to three cached ones come on top.")  # fmt: skip
@click.option("--releases", default=3, show_default=True, type=click.IntRange(min=0),
              help="Releases of each package.")  # fmt: skip
@click.option("--file-size", default=0, show_default=True, type=click.IntRange(min=0),
              help="Bytes of each package file, about; at least what is in it.")  # fmt: skip
@with_appcontext
def seed(users: int, packages: int, releases: int, file_size: int) -> None:
    """Fill an empty instance with a registry to try things with."""
    try:
        made = seeding.seed(users=users, packages=packages, releases=releases, file_size=file_size)
    except seeding.NotEmptyError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(
            f"The files can not be written: {error.strerror}. "
            "Make room or rights in HOST_APP_DATA, then seed again."
        ) from None
    click.echo(
        f"Seeded {made.users} users, {made.packages} packages (and {made.cached} cached), "
        f"{made.releases} releases, {made.docs} docs, {made.file_bytes / 1e6:,.1f} MB of files. "
        f"Sign in as {seeding.ADMIN} with the password {seeding.PASSWORD}."
    )
