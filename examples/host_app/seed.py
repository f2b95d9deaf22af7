"""Fills an empty instance with a registry to look at, the same one every time."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import bcrypt
from sqlalchemy import func, select

from examples.host_app import demo_words, files, hex_tarball
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
    people = list(_users(users))
    local = [_package(number, releases, people) for number in range(packages)]
    cached = [_cached_package(number) for number in range(min(packages, len(demo_words.CACHED)))]
    docs = file_bytes = 0
    for package in (*local, *cached):
        for release in package.releases:
            docs += release.has_docs
            file_bytes += _write_files(package, release, file_size)
    db.session.add_all([*people, *local, *cached])
    db.session.add_all(_keys(people))
    db.session.add_all(_events(local))
    db.session.commit()
    return Seeded(
        users=len(people),
        packages=len(local),
        cached=len(cached),
        releases=sum(len(package.releases) for package in local),
        docs=docs,
        file_bytes=file_bytes,
    )


def _users(count: int) -> Iterator[User]:
    slow, fast = _scrypt_hash(PASSWORD), _bcrypt_hash(PASSWORD)
    for number in range(count):
        name, mailbox = _person(number)
        joined = _EPOCH + timedelta(days=number, microseconds=104_729 * number)
        # Every kind of account is among the first twelve, and in each round after them.
        kind = (number - 1) % len(demo_words.PEOPLE) if number else None
        yield User(
            username=name,
            email=f"{mailbox}@example.org",
            password_hash=fast if kind in (1, 4) else slow,
            is_admin=number == 0,
            totp_enabled=kind == 3,
            totp_secret=TOTP_SECRET if kind == 3 else None,
            # No secret either: a session hangs on the instance's own key beside it.
            session_token=f"seeded-{number}",
            service_account=kind == 10,
            deactivated_at=joined + timedelta(days=90) if kind == 5 else None,
            inserted_at=joined,
            updated_at=joined + timedelta(days=90 if kind == 5 else 0),
        )


def _person(number: int) -> tuple[str, str]:
    if number == 0:
        return ADMIN, ADMIN
    round_, place = divmod(number - 1, len(demo_words.PEOPLE))
    name, mailbox = demo_words.PEOPLE[place]
    return (f"{name}{round_ + 1}", f"{mailbox}{round_ + 1}") if round_ else (name, mailbox)


def _package(number: int, releases: int, people: list[User]) -> Package:
    name, description = _package_name(number)
    chance = random.Random(name)
    package = _bare_package(name, description, _EPOCH + timedelta(days=20 + number / 7))
    package.private = number % 6 == 1
    package.meta["licenses"] = [chance.choice(_LICENSES)]
    package.meta["maintainers"] = [people[number % len(people)].username]
    package.meta["links"] = {"Source": f"https://git.example.com/acme/{name}"}
    needed = {
        upstream: {"app": upstream, "optional": chance.random() < 0.2, "requirement": "~> 1.0"}
        for upstream, _ in demo_words.CACHED[: number % 4]
    }
    for k in range(releases):
        version = _VERSIONS[k % len(_VERSIONS)].format(k // len(_VERSIONS) + 1)
        published = package.inserted_at + timedelta(days=9 * k, microseconds=7_919 * k)
        release = _bare_release(package, version, published)
        release.has_docs = (number + k) % 2 == 0
        release.requirements = needed
        release.retired = {0: True, 1: None}.get((number + 3 * k) % 9, False)
        release.downloads = chance.randrange(5_000)
    package.downloads = sum(release.downloads for release in package.releases)
    for place in range(min(1 + number % 3, len(people))):
        package.owners.append(
            Owner(
                user=people[(number + place) % len(people)],
                level="maintainer" if place else "full",
                inserted_at=package.inserted_at + timedelta(hours=place),
            )
        )
    return package


def _cached_package(number: int) -> Package:
    name, description = demo_words.CACHED[number]
    package = _bare_package(name, description, _EPOCH + timedelta(days=number))
    package.source = "cached"
    _bare_release(package, "1.4.0", package.inserted_at)
    return package


def _bare_package(name: str, description: str, published: datetime) -> Package:
    return Package(
        name=name,
        repository_name="hexpm",
        meta={"description": description, "licenses": [], "links": {}, "maintainers": []},
        private=False,
        downloads=0,
        inserted_at=published,
        updated_at=published,
        html_url=f"/packages/{name}",
        docs_html_url=f"/packages/{name}/docs",
        source="local",
    )


def _bare_release(package: Package, version: str, published: datetime) -> Release:
    """A release of `package` with the addresses that HexHub gives it, with docs or without."""
    url = f"/packages/{package.name}/releases/{version}"
    return Release(
        package=package,
        version=version,
        has_docs=False,
        meta={"build_tools": ["mix"]},
        requirements={},
        retired=False,
        downloads=0,
        inserted_at=published,
        updated_at=published,
        url=url,
        package_url=f"{url}/package",
        html_url=url,
        docs_html_url=f"{url}/docs",
    )


def _package_name(number: int) -> tuple[str, str]:
    if number < len(demo_words.PACKAGES):
        return demo_words.PACKAGES[number]
    number -= len(demo_words.PACKAGES)
    round_, place = divmod(number, len(demo_words.FIRST) * len(demo_words.SECOND))
    first = demo_words.FIRST[place % len(demo_words.FIRST)]
    second = demo_words.SECOND[place // len(demo_words.FIRST)]
    name = f"{first}_{second}_{round_ + 1}" if round_ else f"{first}_{second}"
    return name, f"A {first} {second}"


def _write_files(package: Package, release: Release, file_size: int) -> int:
    """Write the files of a release, and give the number of their bytes."""
    path = files.folder(package.source, "package") / files.file_name(package.name, release.version)
    path.parent.mkdir(parents=True, exist_ok=True)
    module = package.name.title().replace("_", "")
    with path.open("wb") as file:
        hex_tarball.write_package(
            file,
            _metadata(package, release),
            {
                "mix.exs": f"defmodule {module}.MixProject do\nend\n".encode(),
                f"lib/{package.name}.ex": f"defmodule {module} do\nend\n".encode(),
                "README.md": f"# {package.name}\n\n{package.meta['description']}\n".encode(),
            },
            size=file_size,
            source=random.Random(f"{package.name} {release.version}"),
        )
    written = path.stat().st_size
    if not release.has_docs:
        return written
    path = files.folder(package.source, "docs") / files.file_name(package.name, release.version)
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"{package.name} v{release.version}"
    with path.open("wb") as file:
        hex_tarball.write_docs(
            file,
            {
                "index.html": f"<!doctype html>\n<title>{title}</title>\n".encode(),
                "api-reference.html": f"<h1>{module}</h1>\n".encode(),
            },
        )
    return written + path.stat().st_size


def _metadata(package: Package, release: Release) -> dict[str, object]:
    return {
        "name": package.name,
        "app": package.name,
        "version": release.version,
        "description": package.meta["description"],
        "licenses": package.meta["licenses"],
        "links": package.meta["links"],
        "build_tools": release.meta["build_tools"],
        "elixir": "~> 1.14",
        "files": ["mix.exs", f"lib/{package.name}.ex", "README.md"],
        "requirements": [
            {"name": name, "repository": "hexpm", **rule}
            for name, rule in release.requirements.items()
        ],
    }


def _keys(people: list[User]) -> Iterator[ApiKey]:
    for user in people[::3]:
        key = hashlib.sha256(f"the seeded key of {user.username}".encode()).hexdigest()
        yield ApiKey(user=user, name="ci", key_sha256=key, inserted_at=user.inserted_at)


def _events(packages: list[Package]) -> Iterator[AuditEvent]:
    for package in packages:
        for release in package.releases:
            yield AuditEvent(
                event="release.published",
                actor=package.meta["maintainers"][0],
                at=release.inserted_at,
                address="192.0.2.10",
                details={"package": package.name, "version": release.version},
            )


def _scrypt_hash(password: str) -> str:
    """Werkzeug's format with a salt that is always the same, so that a seed is too."""
    key = hashlib.scrypt(
        password.encode(), salt=b"hexhubdemo", n=2**15, r=8, p=1, maxmem=2**26, dklen=64
    )
    return f"scrypt:32768:8:1$hexhubdemo${key.hex()}"


def _bcrypt_hash(password: str) -> str:
    # Four rounds are the fewest there are: a seed should be quick, and this is no secret.
    return bcrypt.hashpw(password.encode(), b"$2b$04$hexhubdemohexhubdemohe").decode()
