"""What our answers tell the browser: nobody frames them, and they load only what is ours."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from flask import Flask, Response, request, request_started, url_for
from flask.testing import FlaskClient
from playwright.sync_api import expect

from examples.host_app.seed import ADMIN
from tests.support.browser import OF_A_STATUS, Visits, ends, in_whole_browser, log_in
from tests.support.patience import wait_for
from tests.support.people import sign_in, token
from tests.support.serving import PREFIX, Address, is_idle, make_backup

pytestmark = pytest.mark.host(config={"HEXHUB_BACKUP_BASE_TEMPLATE": "hexhub_backup/base.html"})

_POLICY, _FRAMES = "Content-Security-Policy", "X-Frame-Options"


@pytest.fixture(autouse=True)
def no_policy(app: Flask) -> None:
    """The host sets no headers of its own."""
    app.after_request_funcs[None].clear()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/new", 200),
        ("/{backup}", 200),
        ("/{backup}/download", 200),
        ("/operations/{backup}/outcome", 200),
        ("/operations/{backup}/events", 200),
        ("/static/hexhub_backup.css", 200),
        ("/no/such/page", 404),
        ("/{backup}/verify", 405),
        # To the address with a slash.
        ("", 308),
    ],
)
def test_every_answer_of_ours_refuses_frames_and_what_is_not_ours(
    app: Flask, client: FlaskClient, path: str, status: int
) -> None:
    answer = client.get(f"{PREFIX}{path.format(backup=make_backup(app))}")
    assert answer.status_code == status
    assert answer.headers[_FRAMES] == "SAMEORIGIN"
    assert answer.headers[_POLICY].startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in answer.headers[_POLICY]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=(), " in answer.headers["Permissions-Policy"]
    answer.close()


def test_so_do_refusals_and_redirects_and_no_page_of_the_host(
    app: Flask, client: FlaskClient
) -> None:
    stranger = app.test_client().get(f"{PREFIX}/")
    refused = client.post(f"{PREFIX}/", data={})
    foreign = client.post(f"{PREFIX}/", headers={"Origin": "http://evil.example"})
    begun = client.post(f"{PREFIX}/", data={"csrf_token": token(client, f"{PREFIX}/new")})
    found = [stranger, refused, foreign, begun]
    assert [each.status_code for each in found] == [302, 400, 403, 303]
    assert [each.headers[_FRAMES] for each in found] == ["SAMEORIGIN"] * 4
    for path in ("/", "/admin/", f"{PREFIX}ish"):
        assert not {_FRAMES, _POLICY} & set(client.get(path).headers.keys())
    wait_for(lambda: is_idle(app))


@pytest.mark.host(config={})
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ({_FRAMES: "DENY"}, {_FRAMES: "DENY"}),
        ({_POLICY: "default-src *"}, {_POLICY: "default-src *", _FRAMES: "SAMEORIGIN"}),
        (
            {_POLICY: "default-src *; Frame-Ancestors https://portal.example"},
            {_POLICY: "default-src *; Frame-Ancestors https://portal.example", _FRAMES: None},
        ),
        ({"Referrer-Policy": "no-referrer"}, {"Referrer-Policy": "no-referrer"}),
        ({"Permissions-Policy": "usb=(self)"}, {"Permissions-Policy": "usb=(self)"}),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_the_host_says_holds(
    app: Flask, host: dict[str, str], expected: dict[str, str | None], when: str
) -> None:
    """Also where it says so only if nobody has, and whenever it made its function."""

    @app.after_request
    def headers(response: Response) -> Response:
        for name, value in host.items():
            response.headers.setdefault(name, value)
        return response

    if when == "before":
        app.after_request_funcs[None].reverse()
    client = app.test_client()
    sign_in(client, ADMIN)
    answer = client.get(f"{PREFIX}/")
    assert {name: answer.headers.get(name) for name in expected} == expected


@pytest.mark.host(config={})
def test_a_layout_of_the_hosts_loads_what_it_wants(app: Flask) -> None:
    client = app.test_client()
    sign_in(client, ADMIN)
    answer = client.get(f"{PREFIX}/")
    assert answer.headers[_POLICY] == "frame-ancestors 'self'"
    assert answer.headers[_FRAMES] == "SAMEORIGIN"


# in a browser


@pytest.fixture
def visits(visits: Visits) -> Visits:
    # Our own page has no icon, and browsers ask the host for one.
    visits.expected.append(OF_A_STATUS.format(404))
    return visits


@in_whole_browser
def test_the_pages_work_under_our_own_policy(app: Flask, address: Address, visits: Visits) -> None:
    """A backup is watched to its end, planned, and restored, without a word in the console, and
    nothing is asked of the host beside its login."""
    asked: set[str] = set()

    def note(_: Flask, **extra: Any) -> None:
        asked.add(request.path)

    request_started.connect(note, app)
    page = visits(address, logged_in=False)
    log_in(page, address)
    page.goto(f"{address.origin}{PREFIX}/new")
    page.get_by_role("button", name="Create backup").click()
    ends(page, "Backup is complete")
    page.goto(f"{address.origin}{PREFIX}/restore")
    page.get_by_role("link", name="Restore…").click()
    page.get_by_role("button", name="Preview restore").click()
    expect(page.get_by_role("heading", name="What this restore would do")).to_be_visible()
    assert "/favicon.ico" not in asked
    with app.test_request_context():
        assert url_for("hexhub_backup.static", filename="icon.svg") in asked


class _Framing(BaseHTTPRequestHandler):
    """A page of another origin that frames what its path says."""

    def do_GET(self) -> None:
        # Without an icon of its own there would be one more request, in nobody's order.
        icon = '<link rel="icon" href="data:,">'
        content = f'{icon}<iframe src="{self.path[1:]}"></iframe>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        pass


def test_no_other_origin_can_frame_a_page(address: Address, visits: Visits) -> None:
    visits.expected += ["frame-ancestors", "a request for", "X-Frame-Options", "ERR_BLOCKED"]
    page = visits(address, logged_in=False)
    log_in(page, address)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Framing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            page.goto(f"http://127.0.0.1:{server.server_port}/{address.origin}/login")
            # A page of the host is not ours to keep out of frames.
            assert page.frames[1].url.startswith(f"{address.origin}/")
            page.goto(f"http://127.0.0.1:{server.server_port}/{address.origin}{PREFIX}/")
            page.wait_for_load_state()
            (frame,) = page.frames[1:]
            assert frame.url.startswith("chrome-error:")
        finally:
            server.shutdown()
