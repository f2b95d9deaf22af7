"""An encrypted copy or upload is opened on the pages, with a key that is shown and kept nowhere."""

from __future__ import annotations

import io
import logging
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, TestResponse

from hexhub_backup import DirectoryDestination
from hexhub_backup.destinations.encryption import MAX_IDENTITY, fingerprint
from hexhub_backup.history.models import Copy
from hexhub_backup.jobs.backups import Backups
from tests.support.age import Key, age_key, ssh_key
from tests.support.directory import depot_of
from tests.support.encrypted import copied, use
from tests.support.hosts import change_something, dump
from tests.support.kept import kept, told_by_signals
from tests.support.pages import Check, landed, page, post, read
from tests.support.people import token
from tests.support.serving import PREFIX


@pytest.fixture(params=["age", "ssh"])
def key(tmp_path: Path, request: pytest.FixtureRequest) -> Key:
    return age_key(tmp_path / "key.txt") if request.param == "age" else ssh_key(tmp_path / "id")


@pytest.fixture
def copy(app: Flask, client: FlaskClient, backups: Backups, key: Key) -> Copy:
    """A copy of a backup whose file is lost; who looks at the pages has signed in before."""
    use(backups, key)
    found = copied(app, backups)["nas"]
    depot_of(backups).archive(found.backup_id).unlink()
    return found


def send(client: FlaskClient, **form: Any) -> TestResponse:
    """The form of the page Restore, as a browser sends it."""
    form = {"csrf_token": token(client, f"{PREFIX}/new"), **form}
    return client.post(f"{PREFIX}/restore", data=form, content_type="multipart/form-data")


def uploads(backups: Backups) -> list[Path]:
    return sorted(backups.depot.path.glob("uploads/*"))


def name_of(key: Key) -> str:
    return fingerprint(key.recipient)


def pasted(key: Key) -> str:
    """As a browser sends the lines of a text area."""
    return "\r\n".join(key.identity.read_text().splitlines())


def file_of(content: bytes, name: str) -> tuple[io.BytesIO, str]:
    return io.BytesIO(content), name


def test_a_registry_is_restored_from_an_encrypted_copy(
    app: Flask, client: FlaskClient, backups: Backups, copy: Copy, key: Key
) -> None:
    before = dump(app)
    change_something()
    assert dump(app) != before
    assert "Bring back…" in page(client, f"/{copy.backup_id}")
    form = unescape(page(client, f"/restore?backup={copy.backup_id}"))
    assert f"is encrypted, and opens with {fingerprint(key.recipient)}" in form
    assert "Open with the key" in form
    answer = send(
        client, conflict_strategy="overwrite", backup=copy.backup_id, identity=pasted(key)
    )
    opened = landed(backups, answer, "operations")
    (work_file,) = uploads(backups)
    assert work_file.stat().st_mode & 0o777 == 0o600
    shown = page(client, f"/operations/{opened}")
    assert "The key opens it." in shown
    assert "Bring back" in shown
    answer = post(client, f"/operations/{opened}/opened", do="plan")
    plan = landed(backups, answer, "plans")
    inspected = backups.catalog.operation(plan)
    assert inspected.options["choice"]["strategy"] == "overwrite"
    replaced = backups.plans.open(plan).replaces()
    answer = post(client, f"/plans/{plan}", do="restore", replaces=str(replaced))
    landed(backups, answer, "operations")
    assert dump(app) == before

    assert post(client, f"/operations/{opened}/opened", do="nothing").status_code == 400
    landed(backups, post(client, f"/operations/{opened}/opened", do="return"), "operations")
    assert not backups.history.backup(copy.backup_id).file_missing
    assert "has gone by now" in page(client, f"/operations/{opened}")
    assert post(client, f"/operations/{opened}/opened", do="plan").status_code == 404


def test_the_copy_that_a_key_opens_is_chosen(
    app: Flask, client: FlaskClient, backups: Backups, nas: DirectoryDestination, tmp_path: Path
) -> None:
    own, other = age_key(tmp_path / "own"), age_key(tmp_path / "other")
    use(backups, other)
    elsewhere = DirectoryDestination("nas", nas.path, recipients=[own.recipient])
    backups.destinations = {**backups.destinations, "nas": elsewhere}
    backup = copied(app, backups)["nas"].backup_id
    depot_of(backups).archive(backup).unlink()
    shown = unescape(page(client, f"/restore?backup={backup}"))
    for place, key in (("nas", own), ("offsite", other)):
        assert re.search(rf"That in {place} , .* opens with {re.escape(name_of(key))}", shown)
        answer = send(client, backup=backup, place=place, identity=pasted(key))
        opened = landed(backups, answer, "operations")
        assert backups.catalog.operation(opened).options["place"] == place
    answer = send(client, backup=backup, place="nowhere", identity=pasted(own))
    assert answer.status_code == 404


def test_the_copy_that_is_named_is_read_though_the_archive_is_here(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    backup = copied(app, backups)["nas"].backup_id
    plan = landed(backups, send(client, backup=backup, place="offsite"), "plans")
    assert backups.catalog.operation(plan).options["place"] == "offsite"


def test_an_upload_is_opened_with_the_file_of_a_key(
    client: FlaskClient, backups: Backups, nas: DirectoryDestination, copy: Copy, key: Key
) -> None:
    content = (nas.path / str(copy.file)).read_bytes()
    identity = file_of(key.identity.read_bytes(), "key.txt")
    answer = send(client, identity_file=identity, file=file_of(content, "it.tar.age"))
    opened = landed(backups, answer, "operations")
    path = str(backups.depot.path)
    assert path not in client.get(f"{PREFIX}/operations/{opened}/outcome").text
    # The encrypted file is of no more use.
    (plain,) = uploads(backups)
    assert plain.read_bytes() == key.open(content)
    assert "Bring back" not in page(client, f"/operations/{opened}")
    landed(backups, post(client, f"/operations/{opened}/opened", do="plan"), "plans")


def test_a_key_harms_no_archive_that_needs_none(
    client: FlaskClient, backups: Backups, nas: DirectoryDestination, copy: Copy, key: Key
) -> None:
    content = key.open((nas.path / str(copy.file)).read_bytes())
    answer = send(client, identity=pasted(key), file=file_of(content, "it.tar"))
    landed(backups, answer, "plans")


def test_a_wrong_key_is_one_clear_error(
    client: FlaskClient,
    backups: Backups,
    nas: DirectoryDestination,
    copy: Copy,
    key: Key,
    tmp_path: Path,
) -> None:
    content = (nas.path / str(copy.file)).read_bytes()
    wrong = ssh_key(tmp_path / "wrong")
    for form, says in (
        ({"file": file_of(content, "x")}, "is encrypted: hand in the private key"),
        ({"backup": copy.backup_id}, "is encrypted to SHA256:"),
        ({"identity": pasted(wrong), "file": file_of(content, "x")}, "opens this file"),
        ({"identity": "no key", "backup": copy.backup_id}, "holds no private key"),
    ):
        answer = send(client, **form)
        assert (answer.status_code, says in unescape(answer.text)) == (422, True), answer.text
        assert uploads(backups) == []
    answer = send(client, identity=pasted(wrong), backup=copy.backup_id)
    failed = landed(backups, answer, "operations", "failed")
    assert backups.catalog.operation(failed).code == "wrong_key"
    shown = unescape(page(client, f"/operations/{failed}"))
    assert f"It is encrypted to {fingerprint(key.recipient)}" in shown
    assert "Start again…" in shown
    assert uploads(backups) == []


def test_one_key_of_so_many_bytes_is_taken_and_only_from_our_page(
    client: FlaskClient, backups: Backups, copy: Copy, key: Key
) -> None:
    both = {"identity": pasted(key), "identity_file": file_of(key.identity.read_bytes(), "key")}
    assert send(client, backup=copy.backup_id, **both).status_code == 400
    remark = b"#" * (MAX_IDENTITY - 1 - len(key.identity.read_bytes())) + b"\n"
    if b"BEGIN" not in key.identity.read_bytes():
        whole = file_of(remark + key.identity.read_bytes(), "key")
        landed(backups, send(client, backup=copy.backup_id, identity_file=whole), "operations")
        (opened,) = uploads(backups)
        opened.unlink()
    for field in ("identity", "identity_file"):
        long = file_of(bytes(MAX_IDENTITY + 1), "key")
        answer = send(client, backup=copy.backup_id, **{field: long})
        assert answer.status_code == 413
    form = {"csrf_token": "wrong", "backup": copy.backup_id, "identity": pasted(key)}
    answer = client.post(f"{PREFIX}/restore", data=form, content_type="multipart/form-data")
    assert answer.status_code == 400
    # What is no key is not even looked at before that.
    answer = client.post(
        f"{PREFIX}/restore",
        data={**form, "identity": "no key"},
        content_type="multipart/form-data",
    )
    assert "This page has expired" in answer.text
    assert uploads(backups) == []


def test_the_fields_of_the_key_are_never_filled_in(
    client: FlaskClient, copy: Copy, key: Key
) -> None:
    for path in ("/restore", f"/restore?backup={copy.backup_id}"):
        answer = client.get(f"{PREFIX}{path}")
        read(answer)
        assert answer.headers["Cache-Control"] == "no-store"
        fields = Fields()
        fields.feed(answer.text)
        assert [each["id"] for each in fields.found] == ["identity", "identity_file"]
        for each in fields.found:
            assert each["autocomplete"] == "off"
            assert "value" not in each
        assert fields.found[0]["spellcheck"] == "false"
        assert fields.texts == [""]


class Fields(Check):
    """The fields of a key, and what is in the text areas."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self._in_area = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        found = dict(attrs)
        if str(found.get("name")).startswith("identity"):
            self.found.append(found)
        if tag == "textarea":
            self._in_area = True
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self._in_area:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        super().handle_endtag(tag)
        self._in_area = self._in_area and tag != "textarea"


class Counted(io.BytesIO):
    """How much of it was read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_a_long_upload_without_its_key_is_refused_at_its_beginning(
    client: FlaskClient, backups: Backups, copy: Copy, nas: DirectoryDestination
) -> None:
    content = (nas.path / str(copy.file)).read_bytes() + bytes(20 * 2**20)
    form = {"csrf_token": token(client, f"{PREFIX}/new"), "file": file_of(content, "x.tar.age")}
    environ = EnvironBuilder(f"{PREFIX}/restore", method="POST", data=form).get_environ()
    with environ["wsgi.input"] as whole:
        body = Counted(whole.read())
    environ["wsgi.input"] = body
    answer = client.open(environ)
    assert answer.status_code == 422
    assert body.count < 2**20
    assert uploads(backups) == []


class Elsewhere:
    """A runner that has orders run by other processes, which this test has none of."""

    def __init__(self) -> None:
        self.submitted: list[str] = []

    def submit(self, operation_id: str) -> None:
        self.submitted.append(operation_id)


def test_only_the_process_that_was_handed_the_key_opens_it(
    client: FlaskClient, backups: Backups, copy: Copy, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Elsewhere()
    monkeypatch.setattr(backups.orders, "_runner", runner)
    answer = send(client, identity=pasted(key), backup=copy.backup_id)
    opened = landed(backups, answer, "operations")
    assert backups.catalog.operation(opened).bound
    answer = post(client, f"/operations/{opened}/opened", do="plan")
    assert runner.submitted == [answer.location.rpartition("/")[2]]


def test_the_key_is_in_no_answer_cookie_row_log_signal_or_file(
    app: Flask,
    client: FlaskClient,
    backups: Backups,
    nas: DirectoryDestination,
    copy: Copy,
    key: Key,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    told = told_by_signals()
    content = (nas.path / str(copy.file)).read_bytes()
    wrong = age_key(tmp_path / "wrong")
    answers = []
    for each, state in ((wrong, "failed"), (key, "completed")):
        answers.append(send(client, identity=pasted(each), backup=copy.backup_id))
        operation = landed(backups, answers[-1], "operations", state)
        for path in (f"/operations/{operation}", f"/operations/{operation}/outcome", "/restore"):
            answers.append(client.get(f"{PREFIX}{path}"))
        answers.append(send(client, identity=pasted(each), file=file_of(content, "x")))
        answers.append(send(client, identity=pasted(each) + "x", backup=copy.backup_id))
    landed(backups, answers[-2], "operations")
    found = caplog.text + repr(told)
    for answer in answers:
        found += unescape(answer.text) + repr(answer.headers)
    found += kept(app, Path(app.instance_path), backups.depot.path, nas.path)
    secrets = [*key.secrets, *wrong.secrets]
    assert len(secrets) > 1
    assert "wrong_key" in found
    assert [secret for secret in secrets if secret in found] == []
