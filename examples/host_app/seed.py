"""Fills an empty instance with a registry to look at, the same one every time."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import islice
from typing import Any, BinaryIO

import bcrypt
from sqlalchemy import Connection, Select, func, insert, select

from examples.host_app import api_keys, demo_words, files, hex_files
from examples.host_app.models import ApiKey, AuditEvent, Owner, Package, Release, User, db

ADMIN = "admin"
#: Of every seeded account. It is no secret: seed nothing that others can reach.
PASSWORD = "hexhub-demo"  # noqa: S105 (no secret)
#: Of every seeded account with a second factor.
TOTP_SECRET = base64.b32encode(b"hexhub-demo-totp-key").decode()

_EPOCH = datetime(2025, 3, 1, 8, 0)  # noqa: DTZ001 (the tables hold UTC without a zone)
_VERSIONS = (
    "{}.0.0-rc.1",
    "{}.0.0",
    "{}.0.1",
    "{}.1.0-alpha.1+exp.sha.5114f85",
    "{}.1.0",
    "{}.1.1+build.7",
)
_LICENSES = ("Apache-2.0", "MIT", "MPL-2.0")
#: Packages, or accounts, whose rows are in memory at a time.
_BATCH = 200

#: The columns of a row, without those that the database gives.
Row = dict[str, Any]


class NotEmptyError(Exception):
    """The instance holds something already, which a seed would mix with."""


@dataclass(frozen=True)
class Seeded:
    """How many of what were made, and the bytes of all files."""

    users: int
    packages: int
    cached: int
    releases: int
    docs: int
    file_bytes: int


@dataclass(frozen=True)
class _Published:
    """A package and what belongs to it. `owners` has the number of each user beside the row."""

    package: Row
    releases: list[Row]
    owners: list[tuple[int, Row]]


def is_empty() -> bool:
    """Whether there is no account and no package."""
    return not any(db.session.scalar(select(func.count(kind.id))) for kind in (User, Package))


def seed(*, users: int, packages: int, releases: int, file_size: int) -> Seeded:
    """Make `users` accounts, the first an admin, and `packages` local packages of `releases`.

    Package files have about `file_size` bytes, or what is in them where that is more. A few
    cached packages come on top. Files are written first, rows in one transaction after them:
    a seed that is interrupted can be run again. Raises NotEmptyError.
    """
    if not is_empty():
        raise NotEmptyError(
            "There are users or packages already, and a seed fills an empty instance only. "
            "Name another directory in HOST_APP_DATA, or remove the database in this one."
        )
    cached = min(packages, len(demo_words.CACHED))

    def published() -> Iterator[_Published]:
        """All packages, made anew each time: they are too many to be kept."""
        yield from (_package(number, releases, users) for number in range(packages))
        yield from map(_cached_package, range(cached))

    docs = file_bytes = 0
    for each in published():
        docs += sum(release["has_docs"] for release in each.releases)
        file_bytes += _write_files(each, file_size)
    connection = db.session.connection()
    people = _insert_users(connection, users)
    for batch in _batches(published()):
        _insert_packages(connection, batch, people)
    db.session.commit()
    return Seeded(
        users=users,
        packages=packages,
        cached=cached,
        releases=packages * releases,
        docs=docs,
        file_bytes=file_bytes,
    )


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _insert(connection: Connection, kind: type[Any], rows: list[Row]) -> None:
    if rows:
        connection.execute(insert(kind), rows)


def _ids(connection: Connection, query: Select[str, int]) -> dict[str, int]:
    # An iterator, as a result has `keys`, by which `dict` takes it for a mapping.
    return dict(iter(connection.execute(query)))


def _insert_users(connection: Connection, count: int) -> list[int]:
    """Insert the accounts and their keys, and give their ids by their numbers."""
    for rows in _batches(_users(count)):
        _insert(connection, User, rows)
    ids = _ids(connection, select(User.username, User.id))
    for keys in _batches(_keys(count, ids)):
        _insert(connection, ApiKey, keys)
    return [ids[_person(number)[0]] for number in range(count)]


def _insert_packages(connection: Connection, packages: list[_Published], people: list[int]) -> None:
    _insert(connection, Package, [each.package for each in packages])
    names = [each.package["name"] for each in packages]
    ids = _ids(connection, select(Package.name, Package.id).where(Package.name.in_(names)))

    def rows(of: Callable[[_Published], Iterable[Row]]) -> list[Row]:
        return [
            {**row, "package_id": ids[each.package["name"]]}
            for each in packages
            for row in of(each)
        ]

    _insert(connection, Release, rows(lambda each: each.releases))
    _insert(
        connection,
        Owner,
        rows(lambda each: ({**row, "user_id": people[number]} for number, row in each.owners)),
    )
    _insert(connection, AuditEvent, [event for each in packages for event in _events(each)])


def _users(count: int) -> Iterator[Row]:
    slow, fast = _scrypt_hash(PASSWORD), _bcrypt_hash(PASSWORD)
    for number in range(count):
        name, mailbox = _person(number)
        joined = _joined(number)
        # Every kind of account is among the first twelve, and in each round after them.
        kind = (number - 1) % len(demo_words.PEOPLE) if number else None
        yield {
            "username": name,
            "email": f"{mailbox}@example.org",
            # The admin's is checked quickly, so that tests and the demo log in at once.
            "password_hash": fast if kind in (None, 1, 4) else slow,
            "is_admin": number == 0,
            "totp_enabled": kind == 3,
            "totp_secret": TOTP_SECRET if kind == 3 else None,
            # No secret either: a session hangs on the instance's own key beside it.
            "session_token": f"seeded-{number}",
            "service_account": kind == 10,
            "deactivated_at": joined + timedelta(days=90) if kind == 5 else None,
            "inserted_at": joined,
            "updated_at": joined + timedelta(days=90 if kind == 5 else 0),
        }


def _joined(number: int) -> datetime:
    return _EPOCH + timedelta(days=number, microseconds=104_729 * number)


def _person(number: int) -> tuple[str, str]:
    if number == 0:
        return ADMIN, ADMIN
    round_, place = divmod(number - 1, len(demo_words.PEOPLE))
    name, mailbox = demo_words.PEOPLE[place]
    return (f"{name}{round_ + 1}", f"{mailbox}{round_ + 1}") if round_ else (name, mailbox)


def _package(number: int, releases: int, people: int) -> _Published:
    name, description = _package_name(number)
    chance = random.Random(name)
    inserted = _EPOCH + timedelta(days=20 + number / 7)
    package = _bare_package(name, description, inserted)
    package["private"] = number % 6 == 1
    package["meta"] |= {
        "licenses": [chance.choice(_LICENSES)],
        "maintainers": [_person(number % people)[0]],
        "links": {"Source": f"https://git.example.com/acme/{name}"},
    }
    needed = {
        upstream: {"app": upstream, "optional": chance.random() < 0.2, "requirement": "~> 1.0"}
        for upstream, _ in demo_words.CACHED[: number % 4]
    }
    made = []
    for k in range(releases):
        version = _VERSIONS[k % len(_VERSIONS)].format(k // len(_VERSIONS) + 1)
        published = inserted + timedelta(days=9 * k, microseconds=7_919 * k)
        release = _bare_release(name, version, published)
        release["has_docs"] = (number + k) % 2 == 0
        release["requirements"] = needed
        release["retired"] = {0: True, 1: None}.get((number + 3 * k) % 9, False)
        release["downloads"] = chance.randrange(5_000)
        made.append(release)
    package["downloads"] = sum(release["downloads"] for release in made)
    owners = [
        (
            (number + place) % people,
            {
                "level": "maintainer" if place else "full",
                "inserted_at": inserted + timedelta(hours=place),
            },
        )
        for place in range(min(1 + number % 3, people))
    ]
    return _Published(package, made, owners)


def _cached_package(number: int) -> _Published:
    name, description = demo_words.CACHED[number]
    published = _EPOCH + timedelta(days=number)
    package = _bare_package(name, description, published)
    package["source"] = "cached"
    return _Published(package, [_bare_release(name, "1.4.0", published)], [])


def _bare_package(name: str, description: str, published: datetime) -> Row:
    return {
        "name": name,
        "repository_name": "hexpm",
        "meta": {"description": description, "licenses": [], "links": {}, "maintainers": []},
        "private": False,
        "downloads": 0,
        "inserted_at": published,
        "updated_at": published,
        "html_url": f"/packages/{name}",
        "docs_html_url": f"/packages/{name}/docs",
        "source": "local",
    }


def _bare_release(package: str, version: str, published: datetime) -> Row:
    """A release of `package` with the addresses that HexHub gives it, with docs or without."""
    url = f"/packages/{package}/releases/{version}"
    return {
        "version": version,
        "has_docs": False,
        "meta": {"build_tools": ["mix"]},
        "requirements": {},
        "retired": False,
        "downloads": 0,
        "inserted_at": published,
        "updated_at": published,
        "url": url,
        "package_url": f"{url}/package",
        "html_url": url,
        "docs_html_url": f"{url}/docs",
    }


def _package_name(number: int) -> tuple[str, str]:
    if number < len(demo_words.PACKAGES):
        return demo_words.PACKAGES[number]
    number -= len(demo_words.PACKAGES)
    round_, place = divmod(number, len(demo_words.FIRST) * len(demo_words.SECOND))
    first = demo_words.FIRST[place % len(demo_words.FIRST)]
    second = demo_words.SECOND[place // len(demo_words.FIRST)]
    name = f"{first}_{second}_{round_ + 1}" if round_ else f"{first}_{second}"
    return name, f"A {first} {second}"


def _write_files(published: _Published, file_size: int) -> int:
    """Write the files of a package's releases, and give the number of their bytes."""
    package, written = published.package, 0
    for release in published.releases:
        with _new_file(package, release, "package") as file:
            _write_package(file, package, release, file_size)
            written += file.tell()
        if release["has_docs"]:
            with _new_file(package, release, "docs") as file:
                _write_docs(file, package, release)
                written += file.tell()
    return written


def _new_file(
    package: Row, release: Row, file_type: files.FileType
) -> AbstractContextManager[BinaryIO]:
    path = files.path_of(package["source"], file_type, package["name"], release["version"])
    return files.of_app().new(path)


def _write_package(file: BinaryIO, package: Row, release: Row, size: int) -> None:
    name, module = package["name"], _module(package)
    hex_files.write_package(
        file,
        _metadata(package, release),
        {
            "mix.exs": f"defmodule {module}.MixProject do\nend\n".encode(),
            f"lib/{name}.ex": f"defmodule {module} do\nend\n".encode(),
            "README.md": f"# {name}\n\n{package['meta']['description']}\n".encode(),
        },
        size=size,
        source=random.Random(f"{name} {release['version']}"),
    )


def _write_docs(file: BinaryIO, package: Row, release: Row) -> None:
    title = f"{package['name']} v{release['version']}"
    hex_files.write_docs(
        file,
        {
            "index.html": f"<!doctype html>\n<title>{title}</title>\n".encode(),
            "api-reference.html": f"<h1>{_module(package)}</h1>\n".encode(),
        },
    )


def _module(package: Row) -> str:
    name: str = package["name"]
    return name.title().replace("_", "")


def _metadata(package: Row, release: Row) -> dict[str, object]:
    return {
        "name": package["name"],
        "app": package["name"],
        "version": release["version"],
        "description": package["meta"]["description"],
        "licenses": package["meta"]["licenses"],
        "links": package["meta"]["links"],
        "build_tools": release["meta"]["build_tools"],
        "elixir": "~> 1.14",
        "files": ["mix.exs", f"lib/{package['name']}.ex", "README.md"],
        "requirements": [
            {"name": name, "repository": "hexpm", **rule}
            for name, rule in release["requirements"].items()
        ],
    }


def seeded_key(username: str) -> str:
    """The API key of an account, where the seed has made one: it is no secret either."""
    return f"{PASSWORD}-key-of-{username}"


def _keys(count: int, ids: dict[str, int]) -> Iterator[Row]:
    """The key of every third account, whose ids are given by name."""
    for number in range(0, count, 3):
        name = _person(number)[0]
        yield {
            "user_id": ids[name],
            "name": "ci",
            "key_sha256": api_keys.digest(seeded_key(name)),
            "inserted_at": _joined(number),
        }


def _events(published: _Published) -> Iterator[Row]:
    package = published.package
    # What is cached was published elsewhere.
    for release in published.releases if package["source"] == "local" else ():
        yield {
            "event": "release.published",
            "actor": package["meta"]["maintainers"][0],
            "at": release["inserted_at"],
            "address": "192.0.2.10",
            "details": {"package": package["name"], "version": release["version"]},
        }


@cache
def _scrypt_hash(password: str) -> str:
    """Werkzeug's format with a salt that is always the same, so that a seed is too."""
    key = hashlib.scrypt(
        password.encode(), salt=b"hexhubdemo", n=2**15, r=8, p=1, maxmem=2**26, dklen=64
    )
    return f"scrypt:32768:8:1$hexhubdemo${key.hex()}"


def _bcrypt_hash(password: str) -> str:
    # Four rounds are the fewest there are: a seed should be quick, and this is no secret.
    return bcrypt.hashpw(password.encode(), b"$2b$04$hexhubdemohexhubdemohe").decode()
