"""`make demo`: seeds an empty instance, starts it and says what to try."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sqlalchemy import select

from examples.host_app import create_app
from examples.host_app.accounts import check_password
from examples.host_app.models import User, db
from examples.host_app.seed import ADMIN, PASSWORD, TOTP_SECRET, is_empty, seed

_TRY = """
  The registry    {address}
  Sign in         {address}/login
                  {login}
  Backups         {address}/admin/backups
  Its data        {data}

  To try: press Create backup there, or, in another terminal{environment}:

    {flask} backups create
    {flask} backups list

  Deactivate a user on {address}/admin/users, restore the backup with
  --strategy overwrite, and look again. Other values of HOST_APP_DATA and HOST_APP_PORT
  run a second instance beside this one. Stop with Ctrl+C.
"""


def main() -> None:
    port = os.environ.get("HOST_APP_PORT", "5000")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise SystemExit(f"HOST_APP_PORT is {port!r}. Give a number from 1 to 65535.")
    app = create_app()
    with app.app_context():
        if is_empty():
            seed(users=12, packages=24, releases=3, file_size=0)
        admin = db.session.scalar(select(User).where(User.username == ADMIN))
        seeded = admin is not None and check_password(admin.password_hash, PASSWORD)
    data = os.environ.get("HOST_APP_DATA")
    flask = f"{os.path.relpath(Path(sys.executable).with_name('flask'))} --app examples.host_app"
    print(
        _TRY.format(
            address=f"http://127.0.0.1:{port}",
            login=f"as {ADMIN}, password {PASSWORD} (second factors: {TOTP_SECRET})"
            if seeded
            else f"with an account of yours; {flask} create-admin NAME makes one",
            flask=flask,
            data=app.instance_path,
            environment=f" (with HOST_APP_DATA={data})" if data else "",
        ),
        flush=True,
    )
    app.run(host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main()
