"""What is wrong with package files is told by backups and verifications, and fails neither."""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from flask import Flask

from examples.host_app.models import Package, Release, db
from hexhub_backup import ReleaseCheck, ReleaseToCheck, signals, verbs
from hexhub_backup.archive.source import ReadableFile
from hexhub_backup.errors import ArchiveError, CancelledError
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.release_check import ReleaseChecks
from tests.support.directory import depot_of
from tests.support.hex import package_file
from tests.support.hosts import ADA, file_of, one_package
from tests.support.instance import DATA
from tests.support.serving import make_backup

pytestmark = pytest.mark.usefixtures("app")

Warnings = list[tuple[str | None, str]]


def warnings_of(outcome: dict[str, Any]) -> Warnings:
    assert {each["code"] for each in outcome["warnings"]} <= {"release_check"}
    return [(each["record"], each["message"]) for each in outcome["warnings"]]


def created(app: Flask, backups: Backups) -> tuple[str, Warnings]:
    backup = make_backup(app)
    outcome = backups.catalog.operation(backup).outcome
    assert outcome is not None
    return backup, warnings_of(outcome)


def verified(app: Flask, backups: Backups, name: str) -> Warnings:
    done = backups.orders.run(app, verbs.verify.order(backups.history, ADA, name))
    return warnings_of(done.outcome)


def put(app: Flask, package: Package, content: bytes) -> str:
    """Let a package file be another. Gives what its release is called."""
    file_of(app, package).write_bytes(content)
    return f"release {package.name} {package.releases[0].version}"


def sound(package: Package, **metadata: Any) -> bytes:
    return package_file(package.name, package.releases[0].version, **metadata)


@pytest.fixture
def in_context(app: Flask) -> Iterator[Flask]:
    with app.app_context():
        yield app


def test_nothing_is_said_of_a_sound_registry(in_context: Flask, backups: Backups) -> None:
    backup, told = created(in_context, backups)
    assert told == []
    assert verified(in_context, backups, backup) == []


def test_defects_are_warnings_of_the_backup_and_of_its_verification(
    in_context: Flask, backups: Backups
) -> None:
    first, second, third = db.session.query(Package).filter(Package.source == "local")[:3]
    needs = [
        {"name": name, "app": name, "requirement": "~> 1.0", "repository": "acme"}
        for name in (first.name, "gone")
    ]
    expected = sorted(
        [
            (put(in_context, first, b"junk"), "its package file is none that a client takes: "),
            (put(in_context, second, sound(second, requirements=needs)), "it requires gone of "),
            (
                put(in_context, third, package_file("other", third.releases[0].version)),
                "its package file has another name in its metadata: other",
            ),
        ]
    )
    backup, told = created(in_context, backups)
    assert [record for record, _ in told] == [record for record, _ in expected]
    assert all(
        found.startswith(begin) for (_, found), (_, begin) in zip(told, expected, strict=True)
    )
    row = backups.catalog.backup(backup)
    assert (row.state, row.warning_count, row.intact) == ("completed", 3, True)
    assert verified(in_context, backups, backup) == told


def test_a_large_file_is_read_in_pieces_and_to_its_end(in_context: Flask, backups: Backups) -> None:
    """Those that are larger than what is read of the archive at a time."""
    package = one_package()
    version = package.releases[0].version
    content = sound(package, description="x" * 500_000, links={"a": "y" * 400_000})
    noise = bytes(range(256)) * 8192
    label = put(in_context, package, content + noise)
    seen: list[int] = []

    def check(release: ReleaseToCheck, file: ReadableFile, /, *, unpack: bool) -> Iterable[str]:
        if (release.package, release.version) == (package.name, version):
            seen.append(len(file.read(10)))
            while data := file.read(1 << 16):
                assert len(data) <= 1 << 16
                seen.append(len(data))
            assert file.read(5) == b""
            return ["of a host's own"]
        return ()

    for on, known in ((True, check), (False, None)):
        backups.check_release = known
        backup, told = created(in_context, backups)
        assert told == ([(label, "of a host's own")] if on else [])
    assert sum(seen) == len(content + noise)
    backups.check_release = check
    seen.clear()
    assert verified(in_context, backups, backup) == [(label, "of a host's own")]
    assert sum(seen) == len(content + noise)


def test_a_check_of_the_hosts_own_is_told_of_the_release_and_of_all_packages(
    in_context: Flask, backups: Backups
) -> None:
    seen: dict[tuple[str, str], dict[str, Any]] = {}

    def check(release: ReleaseToCheck, file: ReadableFile, /, *, unpack: bool) -> Iterator[str]:
        assert not unpack
        assert release.has_package(release.package)
        assert not release.has_package(release.package.upper())
        assert not release.has_package("a package that was only cached")
        with tarfile.open(fileobj=file, mode="r|") as tar:  # type: ignore[call-overload]
            assert tar.next().name == "VERSION"
        seen[release.package, release.version] = release.record
        yield from ()

    backups.check_release = check
    backup, told = created(in_context, backups)
    assert told == []
    rows = db.session.query(Release).join(Package).filter(Package.source == "local")
    assert set(seen) == {(each.package.name, each.version) for each in rows}
    for (package, version), record in seen.items():
        assert (record["package_name"], record["version"]) == (package, version)
        # What is not listed of a release is there too.
        assert {"downloads", "updated_at", "requirements"} <= set(record)
    before = dict(seen)
    seen.clear()
    assert verified(in_context, backups, backup) == []
    assert seen == before


def test_of_a_damaged_archive_nothing_is_said_but_that(in_context: Flask, backups: Backups) -> None:
    backup, _ = created(in_context, backups)
    archive = depot_of(backups).archive(backup)
    content = bytearray(archive.read_bytes())
    content[content.index(b"metadata.config") + 600] ^= 1
    archive.write_bytes(content)
    told: list[str] = []

    def receive(_: Any, event: dict[str, Any], **extra: Any) -> None:
        told.append(event["type"])

    with (
        signals.operation_progress.connected_to(receive, in_context),
        pytest.raises(ArchiveError),
    ):
        verified(in_context, backups, backup)
    assert "progress" in told
    assert "warning" not in told


def raising(error: BaseException) -> ReleaseCheck:
    def check(release: ReleaseToCheck, file: ReadableFile, /, *, unpack: bool) -> Iterator[str]:
        yield "found before"
        raise error

    return check


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        (raising(ZeroDivisionError("secret")), "ZeroDivisionError"),
        (raising(SystemExit("secret")), "SystemExit"),
        (raising(ArchiveError("secret")), "ArchiveError"),
        (lambda release, file, unpack: None, "TypeError"),
        (lambda release, file, unpack: "a single sentence", "TypeError"),
        (lambda release, file, unpack: [1], "TypeError"),
        (lambda release, file: [], "TypeError"),
    ],
)
def test_an_exception_of_a_check_is_a_warning_of_its_type_alone(
    in_context: Flask,
    backups: Backups,
    caplog: pytest.LogCaptureFixture,
    check: ReleaseCheck,
    kind: str,
) -> None:
    backups.check_release = check
    with caplog.at_level(logging.ERROR, "hexhub_backup"):
        backup, told = created(in_context, backups)
    assert backups.catalog.backup(backup).state == "completed"
    releases = db.session.query(Release).join(Package).filter(Package.source == "local").count()
    assert len(told) == releases
    assert {message for _, message in told} == {
        f"its package file could not be checked: check_release= raised {kind}"
    }
    # One of them says in the log where that was.
    assert caplog.text.count("check_release= failed on release") == 1
    assert "secret" not in caplog.text


class _Ending:
    """A file that can't be read to its end."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def read(self, size: int = -1, /) -> bytes:
        raise self._error


@pytest.mark.parametrize("error", [ArchiveError("it ends"), CancelledError("by ada"), OSError()])
def test_a_check_that_catches_everything_does_not_hold_an_operation_back(
    error: BaseException,
) -> None:
    def check(release: ReleaseToCheck, file: ReadableFile, /, *, unpack: bool) -> list[str]:
        for _ in range(3):
            try:
                file.read(1)
            except BaseException:
                continue
        return ["nothing can be read"]

    checks = ReleaseChecks(check, lambda _: True, lambda _: pytest.fail("it is no finding"))
    with pytest.raises(type(error)):
        checks.look({"package_name": "a", "version": "1.0.0"}, _Ending(error))


def test_nothing_is_found_in_an_archive_of_hexhubs(in_context: Flask, backups: Backups) -> None:
    done = backups.orders.run(
        in_context, verbs.verify.order(backups.history, ADA, str(DATA / "hexhub-small.tar"))
    )
    assert "release_check" not in {each["code"] for each in done.outcome["warnings"]}
    backups.check_release = raising(ZeroDivisionError())
    done = backups.orders.run(
        in_context, verbs.verify.order(backups.history, ADA, str(DATA / "hexhub-small.tar"))
    )
    raised = [each for each in done.outcome["warnings"] if each["code"] == "release_check"]
    assert len(raised) == 18
