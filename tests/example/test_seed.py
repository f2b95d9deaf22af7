"""The data to try things with: real package files, the same ones every time."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import func, select, text

from examples.host_app import create_app, hex_files
from examples.host_app.accounts import check_password
from examples.host_app.models import ApiKey, Owner, Package, Release, User, db
from examples.host_app.seed import PASSWORD, seed


def run(app: Flask, *arguments: str, typed: str | None = None) -> Result:
    return app.test_cli_runner().invoke(args=list(arguments), input=typed)


def contents(app: Flask) -> Iterator[object]:
    """Everything in the tables and in the storage of an instance."""
    with app.app_context(), db.engine.connect() as connection:
        for table in ("users", "packages", "releases", "owners", "api_keys", "audit_events"):
            yield connection.execute(text(f"SELECT * FROM {table} ORDER BY id")).all()
    root = Path(app.instance_path, "storage")
    yield [(path.relative_to(root), path.read_bytes()) for path in _files(root)]


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_two_seeded_instances_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    seeded = []
    for name in ("a", "b"):
        app = create_app(tmp_path / name)
        assert run(app, "seed", "--packages", "8", "--file-size", "20000").exit_code == 0
        seeded.append(list(contents(app)))
    assert seeded[0] == seeded[1]
    assert all(seeded[0])


def test_it_has_one_of_everything(seeded: Flask) -> None:
    with seeded.app_context():

        def count(*conditions: object) -> int:
            kind = conditions[0]
            query = select(func.count(kind.id)).where(*conditions[1:])  # type: ignore[attr-defined,arg-type]
            return db.session.scalar(query) or 0

        assert count(User) == 12
        assert count(User, User.is_admin) == 1
        assert count(User, User.service_account) == 1
        assert count(User, User.deactivated_at.is_not(None)) == 1
        assert count(User, User.totp_enabled, User.totp_secret.is_not(None)) == 1
        assert count(Package, Package.source == "local") == 6
        assert count(Package, Package.source == "cached") == 3
        assert count(Package, Package.private) == 1
        assert count(Release, Release.has_docs) == 6
        assert count(Owner) > 6
        assert count(ApiKey) > 0
        retired = db.session.scalars(select(Release.retired)).all()
        assert {True, False, None} <= set(retired)
        assert db.session.scalar(text("SELECT count(*) FROM releases WHERE retired IS NULL"))
        hashes = db.session.scalars(select(User.password_hash)).all()
        assert all(check_password(password_hash, PASSWORD) for password_hash in set(hashes))


def test_a_package_file_is_what_a_hex_client_expects(seeded: Flask) -> None:
    files = _files(Path(seeded.instance_path, "storage", "hosted", "packages"))
    assert len(files) == 12
    for path in files:
        with tarfile.open(path, "r:") as tar:
            members = {member.name: _read(tar, member) for member in tar}
        assert list(members) == ["VERSION", "CHECKSUM", "metadata.config", "contents.tar.gz"]
        joined = members["VERSION"] + members["metadata.config"] + members["contents.tar.gz"]
        assert members["CHECKSUM"].decode() == hashlib.sha256(joined).hexdigest().upper()
        assert f'{{<<"name">>,<<"{path.parent.name}">>}}.'.encode() in members["metadata.config"]
        with tarfile.open(fileobj=io.BytesIO(members["contents.tar.gz"]), mode="r:gz") as tar:
            assert "mix.exs" in tar.getnames()
    for path in _files(Path(seeded.instance_path, "storage", "hosted", "docs")):
        with tarfile.open(path, "r:gz") as tar:
            assert "index.html" in tar.getnames()


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


@pytest.mark.parametrize("size", [8_000, 50_000, 1_000_000])
def test_a_package_file_has_about_the_size_that_was_asked_for(tmp_path: Path, size: int) -> None:
    path = tmp_path / "package"
    with path.open("wb") as file:
        hex_files.write_package(
            file, {"name": "a"}, {"mix.exs": b"x"}, size=size, source=random.Random(1)
        )
    assert abs(path.stat().st_size - size) <= 1024
    with tarfile.open(path, "r:") as tar:
        inner = _read(tar, tar.getmember("contents.tar.gz"))
    with tarfile.open(fileobj=io.BytesIO(inner), mode="r:gz") as tar:
        assert tar.getnames() == ["mix.exs", "priv/filler.bin"]
        assert _read(tar, tar.getmember("mix.exs")) == b"x"


def test_metadata_is_written_as_erlang_terms() -> None:
    assert hex_files.erlang_text('a "b" \\\n') == r'<<"a \"b\" \\\n">>'
    assert hex_files.erlang_text("é") == '<<"é"/utf8>>'
    assert hex_files.erlang_text([{"k": True}, []]) == '[[{<<"k">>,true}],[]]'
    with pytest.raises(TypeError, match="float"):
        hex_files.erlang_text(1.5)


def test_a_second_seed_is_refused_and_says_what_to_do(seeded: Flask) -> None:
    again = run(seeded, "seed")
    assert again.exit_code == 1
    assert "HOST_APP_DATA" in again.stderr
    with seeded.app_context():
        assert db.session.scalar(select(func.count(User.id))) == 12


def test_a_seed_that_was_interrupted_can_be_run_again(tmp_path: Path) -> None:
    """Whatever it had come to: all files are written before the first row."""
    whole, broken = create_app(tmp_path / "whole"), create_app(tmp_path / "broken")
    assert run(whole, "seed").exit_code == 0
    in_the_way = Path(broken.instance_path, "storage", "hosted", "packages", "zip_writer")
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    refused = run(broken, "seed")
    assert (refused.exit_code, "can not be written" in refused.stderr) == (1, True)
    in_the_way.unlink()
    assert run(broken, "seed").exit_code == 0
    assert list(contents(broken)) == list(contents(whole))


@pytest.mark.matrix
def test_memory_does_not_grow_with_what_is_seeded(empty: Flask) -> None:
    with empty.app_context():
        tracemalloc.start()
        try:
            seed(users=300, packages=1500, releases=2, file_size=0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert db.session.scalar(select(func.count(Release.id))) == 3003
    assert peak < 8 << 20


def test_more_of_all_has_names_of_its_own(empty: Flask) -> None:
    answer = run(empty, "seed", "--users", "30", "--packages", "450", "--releases", "0")
    assert answer.exit_code == 0, answer.output
    with empty.app_context():
        assert db.session.scalar(select(func.count(User.id))) == 30
        assert db.session.scalar(select(func.count(Package.id))) == 453


@pytest.mark.parametrize("option", ["--users=0", "--packages=-1", "--file-size=x"])
def test_numbers_that_can_not_be_are_wrong_usage(empty: Flask, option: str) -> None:
    assert run(empty, "seed", option).exit_code == 2


def test_create_admin_makes_an_account_that_may_do_everything(empty: Flask) -> None:
    asked = run(empty, "create-admin", "zoë", typed="geheim\ngeheim\n")
    assert asked.exit_code == 0, asked.output
    assert "geheim" not in asked.output
    given = run(empty, "create-admin", "root", "--password", "geheim")
    assert given.exit_code == 0
    with empty.app_context():
        for user in db.session.scalars(select(User)):
            assert user.is_admin
            assert check_password(user.password_hash, "geheim")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zoë", "--password", "x"), "already"),
        (("other", "--email", "zoë@localhost", "--password", "x"), "already"),
        (("a\nb", "--password", "x"), "printable"),
        ((" a", "--password", "x"), "printable"),
        (("", "--password", "x"), "printable"),
        (("other", "--password", ""), "empty"),
    ],
)
def test_create_admin_says_what_is_wrong(
    empty: Flask, arguments: tuple[str, ...], message: str
) -> None:
    assert run(empty, "create-admin", "zoë", "--password", "x").exit_code == 0
    refused = run(empty, "create-admin", *arguments)
    assert refused.exit_code == 1
    assert message in refused.stderr
    with empty.app_context():
        assert db.session.scalar(select(func.count(User.id))) == 1
