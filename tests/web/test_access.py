"""Who may come in: every route and the websocket, for everybody, from everywhere."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from flask import Blueprint, Flask, abort, request
from flask_login import LoginManager, UserMixin  # type: ignore[import-untyped]
from flask_wtf.csrf import CSRFProtect  # type: ignore[import-untyped]

from examples.host_app.models import User, db
from examples.host_app.seed import ADMIN
from hexhub_backup.errors import SettingError
from hexhub_backup.web import access, current
from tests.support.hosts import make_app
from tests.support.people import username
from tests.support.serving import PREFIX, Visitor, make_backup, visitor

pytestmark = [pytest.mark.sample, pytest.mark.usefixtures("served")]


EVIL = "http://evil.example"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    return make_app(tmp_path_factory.mktemp("access") / "host")


@pytest.fixture(scope="module")
def people(served: Flask) -> dict[str, Visitor]:
    gone = username(served, is_admin=False, deactivated_at=None, totp_enabled=False)
    with served.app_context():
        db.session.add(
            User(
                username="second",
                email="second@example.org",
                password_hash=db.session.query(User).filter_by(username=ADMIN).one().password_hash,
                is_admin=True,
            )
        )
        db.session.commit()
    return {
        "anonymous": visitor(served, None),
        "user": visitor(served, gone),
        "deactivated admin": visitor(served, "second", deactivated=True),
        "admin": visitor(served, ADMIN),
    }


def routes(app: Flask) -> list[tuple[str, str, bool]]:
    """Method, path and whether it is a websocket, of every route but the static files, and the
    metrics, which have a token of their own (`test_metrics.py`)."""
    adapter = app.url_map.bind("localhost")
    return [
        (
            method,
            adapter.build(
                rule.endpoint,
                dict.fromkeys(rule.arguments, "nothing"),
                method,
            ).replace("ws://localhost", ""),
            rule.websocket,
        )
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("hexhub_backup.")
        and not rule.endpoint.endswith((".static", ".metrics"))
        for method in sorted(rule.methods or {"GET"})
    ]


def ask(
    app: Flask, route: tuple[str, str, bool], who: Visitor, *, token: bool, origin: str | None
) -> Any:
    method, path, websocket = route
    headers = {**who.headers, **(UPGRADE if websocket else {})}
    if token:
        headers["X-CSRFToken"] = who.token
    if origin is not None:
        headers["Origin"] = origin
    return app.test_client(use_cookies=False).open(path, method=method, headers=headers)


def test_every_route_lets_in_admins_from_its_own_pages_and_nobody_else(
    app: Flask, people: dict[str, Visitor]
) -> None:
    found = routes(app)
    assert len(found) > 30
    assert {(method, path.removeprefix(PREFIX)) for method, path, _ in found} >= {
        ("GET", "/plans/nothing"),
        ("POST", "/plans/nothing"),
        ("GET", "/operations/nothing/outcome"),
        ("GET", "/operations/nothing/undo"),
        ("POST", "/operations/nothing/undo"),
    }
    assert [websocket for *_, websocket in found].count(True) >= 1
    for route, (name, who), token, origin in product(
        found, people.items(), (True, False), (None, "http://localhost", EVIL, "null")
    ):
        method, path, websocket = route
        case = f"{method} {path} {name} token={token} origin={origin}"
        answer = ask(app, route, who, token=token, origin=origin)
        foreign = origin in (EVIL, "null") or (websocket and origin is None)
        if foreign:
            assert answer.status_code == 403, case
        elif name in ("anonymous", "deactivated admin"):
            if websocket or path.endswith(("/events", "/token")) or "/uploads" in path:
                assert answer.status_code == 401, case
            else:
                assert (answer.status_code, answer.location[:6]) == (302, "/login"), case
        elif name == "user":
            assert answer.status_code == 403, case
        elif method in ("POST", "PUT", "PATCH", "DELETE") and not token:
            assert answer.status_code == 400, case
        else:
            # The admin comes to the view, which says that there is no such thing, say.
            assert answer.status_code not in (302, 401, 403), case
            assert b"CSRF" not in answer.data, case


def test_style_sheets_and_scripts_are_for_everybody(app: Flask) -> None:
    answer = app.test_client().get(f"{PREFIX}/static/nothing.css")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "let_in"),
    [
        ("https://registry.example", "registry.example", "http", True),
        ("https://registry.example", "registry.example:443", "http", True),
        ("https://registry.example:8443", "registry.example:8443", "https", True),
        ("HTTP://registry.example".lower(), "Registry.example", "http", True),
        ("http://registry.example", "registry.example", "https", False),
        ("https://registry.example:8443", "registry.example", "https", False),
        ("https://registry.example.evil.example", "registry.example", "https", False),
        ("https://registry.example@evil.example", "registry.example", "https", False),
        ("file://registry.example", "registry.example", "https", False),
        ("http://[", "registry.example", "http", False),
        ("", "registry.example", "http", False),
    ],
)
def test_an_origin_is_ours_when_its_host_is(
    app: Flask, people: dict[str, Visitor], origin: str, host: str, scheme: str, let_in: bool
) -> None:
    answer = app.test_client(use_cookies=False).get(
        f"{PREFIX}/operations/none/events",
        base_url=f"{scheme}://{host}",
        headers={**people["admin"].headers, "Origin": origin},
    )
    assert answer.status_code == (404 if let_in else 403)


def test_pages_under_a_host_that_sends_no_referrer_work(
    app: Flask, people: dict[str, Visitor]
) -> None:
    """Their forms have the Origin `null`; the browser says otherwise that they are ours."""
    admin = people["admin"]
    headers = {**admin.headers, "Origin": "null", "X-CSRFToken": admin.token}
    client = app.test_client(use_cookies=False)
    path = f"{PREFIX}/nothing/verify"
    for site, status in (("same-origin", 404), ("cross-site", 403), ("same-site", 403)):
        answer = client.post(path, headers={**headers, "Sec-Fetch-Site": site})
        assert answer.status_code == status, site


def test_a_token_is_taken_from_the_form_and_only_from_its_own_session(
    app: Flask, people: dict[str, Visitor]
) -> None:
    backup = make_backup(app)
    client = app.test_client(use_cookies=False)
    path = f"{PREFIX}/{backup}/keep"
    admin, user = people["admin"], people["user"]
    assert client.post(path, headers=admin.headers, data={"csrf_token": user.token}).status == (
        "400 BAD REQUEST"
    )
    done = client.post(path, headers=admin.headers, data={"csrf_token": admin.token})
    assert done.status_code == 303


def test_a_form_is_short(app: Flask, people: dict[str, Visitor]) -> None:
    admin = people["admin"]
    client = app.test_client(use_cookies=False)
    for path, length, status in (
        ("/nothing/keep", 100_000, 413),
        # It may name many packages.
        ("/plans/nothing", 100_000, 404),
        ("/plans/nothing", 500_000, 413),
    ):
        form = {"csrf_token": admin.token, "more": "x" * length}
        answer = client.post(f"{PREFIX}{path}", headers=admin.headers, data=form)
        assert answer.status_code == status, path


def test_a_file_beside_the_process_is_no_backup(
    app: Flask, people: dict[str, Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line takes paths; a browser must not name one."""
    monkeypatch.chdir(app.instance_path)
    admin = people["admin"]
    client = app.test_client(use_cookies=False)
    for path in (f"{PREFIX}/secret_key/download", f"{PREFIX}/secret_key"):
        assert client.get(path, headers=admin.headers).status_code == 404
    headers = {**admin.headers, "X-CSRFToken": admin.token}
    assert client.post(f"{PREFIX}/secret_key/verify", headers=headers).status_code == 404
    form = {"backup": "secret_key"}
    answer = client.post(
        f"{PREFIX}/restore", headers=headers, data=form, content_type="multipart/form-data"
    )
    assert answer.status_code == 404


# other hosts


class Person(UserMixin):  # type: ignore[misc]
    """A user of a host whose loader lets everybody through."""

    id = "1"
    is_authenticated = True

    def __init__(self, *, is_active: bool = True, is_admin: Any = True) -> None:
        self._active = is_active
        self.is_admin = is_admin

    @property
    def is_active(self) -> bool:
        return self._active


def other_host(person: Person | None, authorize: Any = None, *, login: bool = True) -> Flask:
    """A host with a guarded blueprint that says what it got in a form."""
    app = Flask("other")
    app.config.update(SECRET_KEY="secret", TESTING=True)
    app.extensions[current.LET_GO] = lambda: None
    blueprint = Blueprint("hexhub_backup", __name__)
    access.guard(blueprint, authorize)
    blueprint.add_url_rule("/", "page", lambda: "in", methods=["GET"])
    blueprint.add_url_rule(
        "/restore", access.UPLOAD, lambda: str(len(request.form)), methods=["POST"]
    )
    app.register_blueprint(blueprint)
    if login:
        manager = LoginManager(app)
        manager.request_loader(lambda _: person)
    return app


@pytest.mark.parametrize(
    ("person", "status"),
    [
        (None, 401),
        (Person(), 200),
        (Person(is_active=False), 403),
        (Person(is_admin=False), 403),
        (Person(is_admin=None), 403),
        (Person(is_admin=lambda: True), 200),
        (Person(is_admin=lambda: False), 403),
    ],
)
def test_without_authorize_it_is_an_active_admin_who_may_come_in(
    person: Person | None, status: int
) -> None:
    assert other_host(person).test_client().get("/").status_code == status


@pytest.mark.parametrize("answer", [False, None, "no", 1, ("Log in", 401)])
def test_only_true_lets_somebody_in(answer: Any) -> None:
    """A function that answers as a view does must not open the door by that."""
    host = other_host(Person(), lambda: answer)
    assert host.test_client().get("/").status_code == 403


def test_a_host_may_answer_for_itself() -> None:
    host = other_host(None, lambda: abort(418), login=False)
    assert host.test_client().get("/").status_code == 418
    assert other_host(None, lambda: True, login=False).test_client().get("/").text == "in"


def test_a_host_without_a_login_is_told_what_to_do() -> None:
    with pytest.raises(SettingError, match="authorize="):
        other_host(None, login=False).test_client().get("/")


def test_a_global_csrf_protection_reads_no_upload_whenever_it_was_made() -> None:
    host = other_host(None)
    CSRFProtect(host)
    answer = host.test_client().post("/restore", data={"file": "x" * 100})
    # Of a stranger it is the login that is missing, not the token.
    assert answer.status_code == 401
