"""`make demo`: seeds an empty instance, starts it and says what to try."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from sqlalchemy import select
from werkzeug.serving import make_server

from examples.host_app import create_app, repository_key
from examples.host_app.accounts import check_password
from examples.host_app.api_keys import account_of
from examples.host_app.models import User, db
from examples.host_app.registry_messages import REPOSITORY
from examples.host_app.seed import ADMIN, PASSWORD, TOTP_SECRET, is_empty, seed, seeded_key

_TRY = """
  {made}

  The registry    {address}
  Sign in         {address}/login
                  {login}
  Backups         {address}/admin/backups
  Its data        {data} (to begin anew, remove it)

  To try: create a backup there, or, in another terminal{environment}:

    {flask} backups create
    {flask} backups list

  To use its packages with mix (the second line goes into the deps of mix.exs):

    mix hex.repo add {repository} {address}/repo --fetch-public-key {fingerprint}{auth_key}
    {{:auth_gate, "~> 1.0", repo: "{repository}"}}
    mix deps.get

  Deactivate a user on {address}/admin/users, restore the backup with
  --strategy overwrite, and look again. HOST_APP_DATA names other data, and PORT
  ('make demo PORT=5050') another port. Stop with Ctrl+C.
"""
_HOST = "127.0.0.1"
#: Where the search for a free port begins, and how far it goes.
_PORTS = range(5000, 5100)


def main() -> None:
    listener = _listen(os.environ.get("HOST_APP_PORT", ""))
    port = listener.getsockname()[1]
    # It is served over plain http, on this machine alone.
    app = create_app(config={"SESSION_COOKIE_SECURE": False, "REMEMBER_COOKIE_SECURE": False})
    with app.app_context():
        made = "This is the registry of an earlier start, as it was left."
        if is_empty():
            done = seed(users=12, packages=24, releases=3, file_size=0)
            made = (
                f"A registry was made, with {done.users} users, {done.packages} packages and "
                f"{done.releases} releases."
            )
        admin = db.session.scalar(select(User).where(User.username == ADMIN))
        seeded = admin is not None and check_password(admin.password_hash, PASSWORD)
        fingerprint = repository_key.fingerprint()
        key = seeded_key(ADMIN) if account_of(seeded_key(ADMIN)) else ""
    data = os.environ.get("HOST_APP_DATA")
    flask = f"{os.path.relpath(Path(sys.executable).with_name('flask'))} --app examples.host_app"
    print(
        _TRY.format(
            made=made,
            address=f"http://{_HOST}:{port}",
            login=f"as {ADMIN}, password {PASSWORD} (second factors: {TOTP_SECRET})"
            if seeded
            else f"with an account of yours; {flask} create-admin NAME makes one",
            repository=REPOSITORY,
            fingerprint=fingerprint,
            auth_key=f" --auth-key {key}" if key else "",
            flask=flask,
            data=app.instance_path,
            environment=f" (with HOST_APP_DATA={data})" if data else "",
        ),
        flush=True,
    )
    server = make_server(_HOST, port, app, threaded=True, fd=listener.fileno())
    server.log_startup()
    server.serve_forever()


def _listen(wanted: str) -> socket.socket:
    """Listen at the port that is wanted, or at the first free one: from now on nobody else can take
    it."""
    if not wanted:
        for port in _PORTS:
            if listener := _listen_at(port):
                return listener
        raise SystemExit("No port from 5000 to 5099 is free. Name another: make demo PORT=8000.")
    if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
        raise SystemExit(f"The port is {wanted!r}. Give a number from 1 to 65535.")
    if listener := _listen_at(int(wanted)):
        return listener
    raise SystemExit(f"Port {wanted} is taken. Name another, or none: then a free one is used.")


def _listen_at(port: int) -> socket.socket | None:
    """None where somebody else listens. On macOS a port can be bound that AirPlay listens on: so it
    is called first."""
    with socket.socket() as caller:
        caller.settimeout(1)
        if caller.connect_ex((_HOST, port)) == 0:
            return None
    try:
        return socket.create_server((_HOST, port))
    except OSError:
        return None


if __name__ == "__main__":
    main()
