"""The pages in the language of their reader: German, and what no catalog has."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from flask import Flask, request
from flask.testing import FlaskClient
from flask_babel import Babel

from examples.host_app.models import Package, User, db
from examples.host_app.seed import ADMIN
from hexhub_backup.destinations.directory import DirectoryDestination
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.web import texts
from hexhub_backup.web.said import Message, Messages, Speaker
from tests.support.hosts import change_something, file_of, one_package
from tests.support.pages import ended, landed, page, planned, post, read
from tests.support.people import sign_in
from tests.support.serving import PREFIX

pytestmark = pytest.mark.usefixtures("no_prune")

GERMAN = {"Accept-Language": "de-AT,de;q=0.9"}


@pytest.fixture
def speaking(app: Flask) -> Flask:
    """The host with Flask-Babel, which goes by what the browser asks for."""
    locales = ["en", "de", "fr"]
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(locales))
    return app


@pytest.fixture
def german(speaking: Flask) -> FlaskClient:
    """The admin's browser."""
    client = speaking.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    client.environ_base["HTTP_ACCEPT_LANGUAGE"] = GERMAN["Accept-Language"]
    return client


def test_an_admin_reads_german_from_the_plan_to_its_undo(
    speaking: Flask, german: FlaskClient, backups: Backups, backup: str
) -> None:
    assert "Die Registry ist geschützt." in page(german, "/")
    change_something("somebody.else@example.org")
    package = one_package()
    name, version = package.name, package.releases[0].version
    file_of(speaking, package).write_bytes(b"another file")
    plan = planned(german, backups, backup, conflict_strategy="overwrite")
    text = page(german, f"/plans/{plan}")
    assert "Was diese Wiederherstellung bewirken würde" in text
    # Sentences that the plan has kept in English.
    replaced = "Paketdatei wird ersetzt: hier 12 Byte, im Archiv 5.120 Byte"
    assert f"Release {name} {version}: {replaced}" in text
    assert "Benutzer alice: aus dem Archiv: E-Mail, Passwort (" in text
    assert "1 Paketdatei weicht von der derzeit ausgelieferten ab" in text
    answer = post(german, f"/plans/{plan}", do="restore", replaces="3")
    operation = landed(backups, answer, "operations")
    assert ended(backups, operation).state == "completed"
    text = page(german, f"/operations/{operation}")
    assert "ersetzt" in text
    assert "rückgängig" in text
    assert "replaced" not in text


def test_who_asks_for_another_language_reads_english(german: FlaskClient) -> None:
    for asked in ("en", "fr"):
        answer = german.get(f"{PREFIX}/", headers={"Accept-Language": asked})
        assert "There is no backup yet" in read(answer)
        assert '<div class="hexhub-backup" lang="en"' in answer.text
    answer = german.get(f"{PREFIX}/")
    assert "Es gibt noch kein Backup" in read(answer)
    assert '<div class="hexhub-backup" lang="de"' in answer.text


def test_a_refusal_is_german_and_its_code_is_not(german: FlaskClient) -> None:
    text = page(german, "/nothing", status=404)
    assert (
        "Backup nothing gibt es nicht. Vielleicht wurde es gelöscht oder ist abgelaufen: " in text
    )
    assert "Fehlercode not_found" in text


def test_a_catalog_of_the_host_goes_before_ours(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "translations" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    words = Catalog(locale="de")
    words.add("All backups", "Alle Sicherungen")
    with (folder / "hexhub_backup.mo").open("wb") as file:
        write_mo(file, words)
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(tmp_path / "translations")
    Babel(app, locale_selector=lambda: "de")
    client = app.test_client()
    sign_in(client, ADMIN)
    text = page(client, "/new")
    assert "Alle Sicherungen" in text
    # What it does not have is said as we do.
    assert "Backup erstellen" in text


# every message


class Marked(Translations):
    """A language in which a text can be told from one that was not translated."""

    def gettext(self, message: str, /) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int, /) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


def messages() -> Messages:
    return texts._messages()


@pytest.fixture
def marked(german: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """The same, in that language."""
    marked = Speaker(Marked(), messages(), language="de", point=",", comma=".")
    monkeypatch.setattr(texts, "_speaker", lambda: marked)
    return german


class Texts(HTMLParser):
    """The texts of our part of a page, those of attributes too."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._depth = 0
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if self._depth or "hexhub-backup" in given.get("class", "").split():
            if tag not in ("input", "link", "meta", "br", "img", "hr"):
                self._depth += 1
            self.found += [
                given[name] for name in ("title", "aria-label", "placeholder") if name in given
            ]
        self._unseen += tag in ("script", "code", "pre", "textarea")

    def handle_endtag(self, tag: str) -> None:
        self._depth -= self._depth > 0
        self._unseen -= tag in ("script", "code", "pre", "textarea")

    def handle_data(self, data: str) -> None:
        if self._depth and not self._unseen:
            self.found.append(" ".join(data.split()))


#: Ids, hashes, times, versions and sizes; names of fields and of records; values.
DATA = re.compile(
    r"\S*\d\S*|\b(?:UTC|kB|MB|GB|SHA-256|s|min|h|null)\b|\{.*\}"
    r"|\b(?:email|meta|password_hash)\b"
)


def english(html: str, names: set[str]) -> list[str]:
    """What of a page is neither translated nor data."""
    shown = Texts()
    shown.feed(html)
    left, within = [], 0
    for text in shown.found:
        # A message may have elements in it.
        rest = text if within == 0 and "⟦" not in text and "⟧" not in text else ""
        within += text.count("⟦") - text.count("⟧")
        rest = DATA.sub(" ", rest)
        for name in sorted(names, key=len, reverse=True):
            rest = rest.replace(name, " ")
        if re.search(r"[A-Za-z]{2}", rest):
            left.append(text)
    return left


def test_nothing_on_a_page_stays_english(
    speaking: Flask,
    nas: DirectoryDestination,
    marked: FlaskClient,
    backups: Backups,
    backup: str,
) -> None:
    changed = "somebody.else@example.org"
    names = {
        changed,
        "alice@example.org",
        "nas",
        "ada",
        "tar",
        *(user.username for user in db.session.scalars(db.select(User))),
    }
    names |= {package.name for package in db.session.scalars(db.select(Package))}
    change_something(changed)
    file_of(speaking, one_package()).write_bytes(b"another file")
    plan = planned(marked, backups, backup, conflict_strategy="overwrite")
    failing = planned(marked, backups, backup, conflict_strategy="fail")
    answer = post(marked, f"/plans/{plan}", do="restore", replaces="3", backup_first="on")
    operation = landed(backups, answer, "operations")
    ended(backups, operation)
    missing = file_of(speaking, one_package())
    missing.unlink()
    second = landed(backups, post(marked, "/"), "operations")
    ended(backups, second)
    check = landed(backups, post(marked, "/doctor"), "operations")
    ended(backups, check)
    rehearsed = landed(backups, post(marked, f"/{second}/rehearse"), "operations")
    ended(backups, rehearsed)
    left = {}
    for path in (
        "/",
        "/new",
        "/restore",
        "/operations",
        "/protection",
        "/retention",
        "/doctor",
        f"/{backup}",
        f"/{backup}/contents",
        f"/{backup}/delete",
        f"/{second}",
        f"/plans/{failing}",
        f"/operations/{plan}",
        f"/operations/{operation}",
        f"/operations/{operation}/undo",
        f"/operations/{second}",
        f"/operations/{rehearsed}",
        f"/operations/{check}",
        f"/{second}/compare",
        "/operations/nothing",
        "/plans/nothing",
        "/nothing",
    ):
        answer = marked.get(f"{PREFIX}{path}", follow_redirects=True)
        if found := english(answer.text, names):
            left[path] = found
    assert left == {}


class German:
    """What the speaker of German is made of."""

    def __init__(self) -> None:
        with (texts.TRANSLATIONS / "de" / "LC_MESSAGES" / "hexhub_backup.mo").open("rb") as file:
            self.catalog = Translations(file, texts.DOMAIN)
        self.speaker = Speaker(self.catalog, messages(), language="de", point=",", comma=".")


def filled(form: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], form)


def test_every_sentence_is_found_again_by_what_it_says() -> None:
    """Whatever is filled in, as long as no other message says more of it itself."""
    german = German()
    with (texts.TRANSLATIONS / "hexhub_backup.pot").open("rb") as file:
        all_of_them = [each.id for each in read_po(file) if each.id]
    lost = []
    for each in all_of_them:
        one, many = (each, None) if isinstance(each, str) else each
        english = one if many is None else many
        named = set(re.findall(r"\{(\w+)\}", english))
        if not named:
            continue
        values = {name: f"X{at}" for at, name in enumerate(sorted(named))} | {"count": "1,234"}
        form = (
            german.catalog.gettext(english)
            if many is None
            else german.catalog.ngettext(one, many, 1234)
        )
        wanted = filled(form, {**values, "count": "1.234"})
        said = german.speaker.said(filled(english, values))
        if said != wanted:
            lost.append((english, said))
    # A message that is another's words and no more, such as `{name} ({size})`, is found as that.
    assert lost == []


def test_names_stay_as_they_are_and_what_is_between_them_is_german() -> None:
    said = German().speaker.said
    english = "There is no good copy in nas and offsite of a backup that is new enough."
    assert said(english) == (
        "In nas und offsite gibt es keine gute Kopie eines ausreichend neuen Backups."
    )
    english = "2 package files are not what they were in an earlier backup: see B-1 and B-2."
    assert said(english).endswith(": siehe B-1 und B-2.")


def test_a_message_says_which_values_it_was_made_of() -> None:
    found = Messages([Message("{place} holds {count} copy", "{place} holds {count} copies")])
    ((message, form, values),) = found.find("the NAS holds 1,234 copies")
    assert form == message.many
    assert values == {"place": "the NAS", "count": "1,234"}
    assert list(found.find("the NAS holds many copies")) == []
