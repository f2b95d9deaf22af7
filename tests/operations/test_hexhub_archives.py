"""Archives of HexHub's with names and values that ours never have: the rest of them restores."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Owner, Package, Release, User, db
from hexhub_backup import verbs
from hexhub_backup.archive.records import KINDS, ReleaseFile
from hexhub_backup.errors import ConflictError
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.operations.choice import Choice
from tests.support.archives import (
    TIME,
    check,
    codes,
    hexhub,
    ours,
    owner,
    package,
    release,
    user,
)
from tests.support.hosts import ADA
from tests.support.stored import root_of

pytestmark = [
    pytest.mark.host(users=0, packages=0),
    pytest.mark.usefixtures("database", "storages", "host"),
]

PASSWORD = "$2b$12$" + "a" * 53
ODD_VERSIONS = ["1.0.0\n", "1.0.0\x1b[31m", "1\\0", "../../1", "1/2", ".1", "1\u2028", "v" * 241]


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    """As HexHub writes one: names that are not ours to write are in it, too."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _members(files: dict[str, bytes], **rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """An archive of HexHub's: with its manifest's counts, and without checksums."""
    documents = {
        kind.member: json.dumps(rows.get(kind.name, []), indent=2).encode() for kind in KINDS
    }
    contents = {kind.name: len(rows.get(kind.name, [])) for kind in KINDS}
    contents["package_files"] = sum(name.startswith("packages/") for name in files)
    contents["doc_files"] = len(files) - contents["package_files"]
    manifest = {
        "version": "1.0",
        "hex_hub_version": "1.0.12",
        "created_at": TIME,
        "created_by": "system",
        "contents": {**contents, "total_size_bytes": 0},
        "checksums": {},
    }
    return {**documents, **files, "manifest.json": json.dumps(manifest).encode()}


def _user(name: str) -> dict[str, Any]:
    return user(name, password_hash=PASSWORD, totp_enabled=False, service_account=False)


def _stored(app: Flask) -> dict[str, bytes]:
    root: Path = root_of(backups_of(app).storage)
    hosted = root / "hosted"
    return {str(path.relative_to(hosted)): path.read_bytes() for path in hosted.rglob("*.tar.gz")}


def _restore(app: Flask, path: Path, **choice: Any) -> dict[str, Any]:
    backups = backups_of(app)
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, ADA, str(path), Choice(**choice))
    )
    return dict(
        backups.orders.run(app, verbs.restore.order(backups.plans, ADA, plan.operation)).outcome
    )


def test_odd_records_are_blocked_with_their_files_and_the_rest_restores(
    app: Flask, tmp_path: Path
) -> None:
    releases = [release("good", "1.0.0"), *(release("good", odd) for odd in ODD_VERSIONS)]
    releases += [release("odd\n", "1.0.0"), release("timeless", "1.0.0")]
    files = {f"packages/{r['package_name']}-{r['version']}.tar.gz": b"file" for r in releases}
    del files[f"packages/good-{'v' * 241}.tar.gz"]
    path = _tar(
        tmp_path / "hexhub.tar",
        _members(
            files,
            users=[_user("ann"), _user("bob") | {"inserted_at": "yesterday"}],
            packages=[
                package("good"),
                package("odd\n"),
                package("timeless", updated_at="never"),
                package("void", meta={"description": "a\0b"}),
                package("huge", meta={"of": 10**401}),
            ],
            releases=releases,
            owners=[owner("good", "ann"), owner("good", "bob"), owner("odd\n", "ann")],
        ),
    )
    outcome = _restore(app, path)
    records = outcome["records"]
    assert {kind: counts["created"] for kind, counts in records.items()} == {
        "users": 1,
        "packages": 1,
        "releases": 1,
        "owners": 1,
    }
    assert {kind: counts["left_out"] for kind, counts in records.items()} == {
        "users": 1,
        "packages": 4,
        "releases": len(ODD_VERSIONS) + 2,
        "owners": 2,
    }
    assert _stored(app) == {"packages/good/good-1.0.0.tar.gz": b"file"}
    blocked = {w["record"]: w["message"] for w in outcome["warnings"] if w["code"] == "blocked"}
    assert len(blocked) == 1 + 4 + len(ODD_VERSIONS) + 2 + 2
    assert "file name must not have" in blocked["release good 1.0.0\\n"]
    assert "its updated_at: it must be a time" in blocked["package timeless"]
    assert "NUL" in blocked["package void"]
    assert "400 digits" in blocked["package huge"]
    assert "its package timeless is neither" in blocked["release timeless 1.0.0"]
    assert all(text.isprintable() for text in blocked.values())
    assert {w["code"] for w in outcome["warnings"]} <= {"blocked", "not_checked"}
    # Once more, nothing is to be done, and the same is blocked.
    again = _restore(app, path, strategy="overwrite")
    assert {counts["unchanged"] for counts in again["records"].values()} == {1}
    with pytest.raises(ConflictError):
        _restore(app, path, strategy="fail")


@pytest.mark.parametrize("odd", ODD_VERSIONS)
def test_an_archive_of_ours_with_such_a_record_is_refused(tmp_path: Path, odd: str) -> None:
    rows = json.dumps([release("good", odd)]).encode()
    path = tmp_path / "ours.tar"
    path.write_bytes(_packed(ours({"releases.json": rows})))
    assert "unsafe_name" in codes(path)


def _packed(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


@pytest.mark.parametrize("name", ["packages/good-1\n.tar.gz", "packages/../../x-1.tar.gz"])
def test_a_file_of_such_a_name_that_is_nobodys_is_refused(tmp_path: Path, name: str) -> None:
    assert codes(_tar(tmp_path / "hexhub.tar", hexhub({name: b""}))) == {"unsafe_name"}
    # SHA256SUMS can not name each of them.
    ours_too = codes(_tar(tmp_path / "ours.tar", ours({name: b""})))
    assert ours_too <= {"unsafe_name", "bad_checksums"}


def test_a_key_that_has_one_odd_row_is_blocked_whole(tmp_path: Path) -> None:
    rows = [release("a", "1", meta={"x": "\0"}), release("a", "1"), release("a", "2")]
    path = _tar(tmp_path / "hexhub.tar", _members({}, packages=[package("a")], releases=rows))
    with check(path) as reader:
        (kind,) = (kind for kind in KINDS if kind.name == "releases")
        assert [record["version"] for _, record in reader.records(kind)] == ["2"]
        assert [each.key for each in reader.left_out(kind)] == [("a", "1")]
        assert "duplicate_record" not in {warning.code for warning in reader.warnings()}


def test_flat_files_of_names_with_a_hyphen_are_their_releases(app: Flask, tmp_path: Path) -> None:
    files = {
        "packages/my-pkg-1.0.0.tar.gz": b"flat",
        "docs/my-pkg-1.0.0.tar.gz": b"flat docs",
        "packages/deep-pkg/deep-pkg-1.0.0.tar.gz": b"deep",
    }
    path = _tar(
        tmp_path / "hexhub.tar",
        _members(
            files,
            packages=[package("my-pkg"), package("deep-pkg")],
            releases=[release("my-pkg", "1.0.0", has_docs=True), release("deep-pkg", "1.0.0")],
        ),
    )
    outcome = _restore(app, path)
    assert outcome["files"]["placed"] == 3
    assert {w["code"] for w in outcome["warnings"]} == {"not_checked"}
    assert sorted(_stored(app).values()) == [b"deep", b"flat", b"flat docs"]
    assert _restore(app, path)["records"]["releases"]["unchanged"] == 2


def test_a_flat_file_that_may_be_of_two_releases_is_nobodys(tmp_path: Path) -> None:
    one, other = ReleaseFile("package", "a", "b-1.0.0"), ReleaseFile("package", "a-b", "1.0.0")
    assert one.member == one.flat_member == other.flat_member
    third = ReleaseFile("package", "x-y", "z-1"), ReleaseFile("package", "x-y-z", "1")
    path = _tar(
        tmp_path / "hexhub.tar",
        _members(
            {one.member: b"?", third[0].flat_member: b"?", "packages/no-body-1.tar.gz": b"?"},
            packages=[package("a"), package("a-b"), package("x-y"), package("x-y-z")],
            releases=[release(each.package, each.version) for each in (one, other, *third)],
        ),
    )
    with check(path) as reader:
        assert [reader.file(each) for each in (one, other, *third)] == [None] * 4
        found = [(each.code, each.record, each.message) for each in reader.warnings()]
    assert sum(code == "missing_package_file" for code, _, _ in found) == 4
    told = {record: message for code, record, message in found if code == "file_without_release"}
    assert told.keys() == {one.member, third[0].flat_member, "packages/no-body-1.tar.gz"}
    assert "more than one release" in told[one.member]
    assert "more than one release" in told[third[0].flat_member]
    assert "no release of this file" in told["packages/no-body-1.tar.gz"]


def test_in_an_archive_of_ours_no_file_is_taken_for_another(tmp_path: Path) -> None:
    rows = json.dumps([release("my-pkg", "1.0.0")]).encode()
    changes = {"releases.json": rows, "packages/my-pkg-1.0.0.tar.gz": b"flat"}
    contents = {"releases": 1}
    members = ours(changes)
    manifest = json.loads(members["manifest.json"])
    members["manifest.json"] = json.dumps(
        manifest | {"contents": manifest["contents"] | contents}
    ).encode()
    with check(_tar(tmp_path / "ours.tar", members)) as reader:
        assert reader.file(ReleaseFile("package", "my-pkg", "1.0.0")) is None


@pytest.mark.gap(mariadb="its usual collation folds case: the pairs are blocked")
def test_pairs_that_differ_in_case_only_restore(app: Flask, tmp_path: Path) -> None:
    versions = ["1.0.0-RC1", "1.0.0-rc1", "2.0.0"]
    files = {f"packages/JSON-Stream-{each}.tar.gz": each.encode() for each in versions}
    files |= {f"packages/jsonx-{each}.tar.gz": each.encode() for each in versions}
    path = _tar(
        tmp_path / "hexhub.tar",
        _members(
            files,
            users=[_user("ann")],
            packages=[package("JSON-Stream"), package("json-stream"), package("jsonx")],
            releases=[release(name, v) for name in ("JSON-Stream", "jsonx") for v in versions],
            owners=[owner("JSON-Stream", "ann"), owner("json-stream", "ann")],
        ),
    )
    outcome = _restore(app, path)
    assert {kind: counts["created"] for kind, counts in outcome["records"].items()} == {
        "users": 1,
        "packages": 3,
        "releases": 6,
        "owners": 2,
    }
    assert sorted(_stored(app).values()) == sorted(each.encode() for each in versions * 2)
    for model, count in ((Package, 3), (Release, 6), (Owner, 2), (User, 1)):
        assert db.session.scalar(sa.select(sa.func.count()).select_from(model)) == count
