"""The example host: a small private registry for Hex packages, with backups by hexhub_backup."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, render_template, request
from flask_wtf.csrf import CSRFProtect  # type: ignore[import-untyped]
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from examples.host_app import (
    accounts,
    admin,
    api_accounts,
    api_oauth,
    api_owners,
    api_packages,
    commands,
    database,
    device_pages,
    files,
    key_pages,
    pages,
    rehearsal,
    repository,
)
from examples.host_app.audit import record_audit_event
from examples.host_app.models import Owner, Package, Release, User, db
from examples.host_app.registry_messages import REPOSITORY
from hexhub_backup import (
    CeleryRunner,
    Destination,
    DirectoryDestination,
    HexHubBackup,
    ModelMap,
    S3Depot,
    S3Destination,
    SQLAlchemyRegistry,
    hex_tarball,
)

if TYPE_CHECKING:
    from celery import Celery  # type: ignore[import-untyped]

VERSION = "1.0.12"
_DEFAULT_DATA = Path(__file__).parent / "instance"
_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)

csrf = CSRFProtect()
backup = HexHubBackup()


def create_app(
    data: str | os.PathLike[str] | None = None, config: Mapping[str, Any] | None = None
) -> Flask:
    """The registry whose state lives in the directory `data`, tables and all.

    Without `data` it is what `HOST_APP_DATA` names, else `instance` beside this file. The
    database is SQLite in there, or what `HOST_APP_DATABASE_URI` says. Package and docs files are in
    there too, or in the bucket that `HOST_APP_STORAGE` names, as `s3://bucket/prefix`. So are
    backups, or in the one of `HOST_APP_DEPOT`, where several machines serve the registry; they are
    copied to the directory `HOST_APP_NAS` and to the bucket `HOST_APP_BUCKET`, where those are
    named, encrypted to the keys of `HOST_APP_AGE_RECIPIENTS`, with commas between. All buckets are
    at `HOST_APP_BUCKET_ENDPOINT`, or at AWS.
    Cookies are for https alone, unless `HOST_APP_HTTPS` is 0; `HOST_APP_PROXIES` says how many
    proxies requests come through.
    What `HOST_APP_BROKER` names is the broker of the Celery workers that run them. Machines that
    serve one registry have one `HOST_APP_SECRET_KEY`.
    Any other setting is taken from `FLASK_` and its name, as JSON. `config` goes over the settings
    made here.
    """
    folder = Path(data or os.environ.get("HOST_APP_DATA") or _DEFAULT_DATA).resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(
            f"The directory {folder} can not be made ({error.strerror}). "
            "Name one that can be written in HOST_APP_DATA."
        ) from None
    app = Flask(__name__, instance_path=str(folder))
    secret_key = os.environ.get("HOST_APP_SECRET_KEY")
    https = os.environ.get("HOST_APP_HTTPS") != "0"
    # Browsers do not tell ports apart: two instances must not share a cookie.
    own = hashlib.sha256(secret_key.encode() if secret_key else bytes(folder)).hexdigest()[:8]
    app.config.from_mapping(
        HOST_APP_STORAGE=os.environ.get("HOST_APP_STORAGE") or folder / "storage",
        HOST_APP_NAS=os.environ.get("HOST_APP_NAS"),
        HEXHUB_BACKUP_AGE_RECIPIENTS=[
            key for key in os.environ.get("HOST_APP_AGE_RECIPIENTS", "").split(",") if key
        ],
        HOST_APP_PROXIES=os.environ.get("HOST_APP_PROXIES") or "0",
        HOST_APP_BROKER=os.environ.get("HOST_APP_BROKER"),
        HOST_APP_DEPOT=os.environ.get("HOST_APP_DEPOT"),
        HOST_APP_BUCKET=os.environ.get("HOST_APP_BUCKET"),
        HOST_APP_BUCKET_ENDPOINT=os.environ.get("HOST_APP_BUCKET_ENDPOINT"),
        HEXHUB_BACKUP_PATH=folder / "backups",
        HEXHUB_BACKUP_HOST_VERSION=VERSION,
        HEXHUB_BACKUP_BASE_TEMPLATE="admin/layout.html",
        SQLALCHEMY_DATABASE_URI=os.environ.get(
            "HOST_APP_DATABASE_URI", f"sqlite:///{folder / 'host_app.sqlite3'}"
        ),
        HEXHUB_BACKUP_SCHEDULE=os.environ.get("HOST_APP_SCHEDULE", "daily 03:00") or None,
        HEXHUB_BACKUP_METRICS_TOKEN=os.environ.get("HOST_APP_METRICS_TOKEN"),
        SECRET_KEY=secret_key,
        SESSION_COOKIE_NAME=f"host_app_{own}",
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=https,
        REMEMBER_COOKIE_NAME=f"host_app_{own}_remember",
        REMEMBER_COOKIE_SAMESITE="Lax",
        REMEMBER_COOKIE_SECURE=https,
        REMEMBER_COOKIE_DURATION=timedelta(days=30),
    )
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    _trust_proxies(app)
    db.init_app(app)
    csrf.init_app(app)
    accounts.login_manager.init_app(app)
    accounts.listen(app)
    for part in (pages, accounts, key_pages, device_pages, admin, repository):
        app.register_blueprint(part.blueprint)
    for part in (api_accounts, api_oauth, api_packages, api_owners):
        # It takes no cookie, which a page of another site could have sent with it.
        csrf.exempt(part.blueprint)
        app.register_blueprint(part.blueprint)
    for command in (commands.create_admin, commands.create_key, commands.seed):
        app.cli.add_command(command)
    app.cli.add_command(database.Commands(app))
    app.add_template_filter(_when, "when")
    app.add_template_filter(_plain_json, "plain_json")
    for status in (400, 403, 404, 500):
        app.register_error_handler(status, _error_page)
    app.before_request(_refuse_nul)
    app.after_request(_secure)
    _prepare(app, folder)

    backup.init_app(
        app,
        registry=SQLAlchemyRegistry(
            db,
            users=ModelMap(User, protected=["is_admin"], totp_secret="totp_secret"),  # noqa: S106
            packages=ModelMap(Package, where=Package.source == "local"),
            releases=ModelMap(Release),
            owners=ModelMap(Owner),
        ),
        storage=files.set_up(app),
        depot=_depot(app),
        audit=record_audit_event,
        destinations=_destinations(app),
        runner=_runner(app),
        check_restored=rehearsal.releases,
        check_release=partial(hex_tarball, repository=REPOSITORY),
    )
    with app.app_context():
        # A server that loads the app first and forks then (gunicorn --preload) would share them.
        db.engine.dispose()
    return app


def _trust_proxies(app: Flask) -> None:
    """Take the address and the scheme of a request from as many proxies as there are, and from no
    more: whoever asks can write such headers, too."""
    number = app.config["HOST_APP_PROXIES"]
    if not number.isdecimal():
        raise SystemExit(f"HOST_APP_PROXIES is {number!r}. Give the number of proxies, such as 1.")
    if proxies := int(number):
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies
        )


def _depot(app: Flask) -> S3Depot | None:
    """The bucket that all machines have their backups in, where one is set."""
    if not (place := app.config["HOST_APP_DEPOT"]):
        return None
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return S3Depot(bucket, prefix, endpoint=app.config["HOST_APP_BUCKET_ENDPOINT"])


def _runner(app: Flask) -> CeleryRunner | None:
    """The workers of Celery, where a broker is set: `examples.host_app.worker` is their app."""
    if not app.config["HOST_APP_BROKER"]:
        return None
    return CeleryRunner(_celery(app))


def _celery(app: Flask) -> Celery:
    """Celery as Flask's documentation sets it up: each task runs in a context of the app."""
    from celery import Celery, Task

    class FlaskTask(Task):  # type: ignore[misc]
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask, broker=app.config["HOST_APP_BROKER"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


def _destinations(app: Flask) -> list[Destination]:
    """The places for copies that are set: a directory, a bucket of S3."""
    found: list[Destination] = []
    if app.config["HOST_APP_BUCKET"]:
        bucket, endpoint = app.config["HOST_APP_BUCKET"], app.config["HOST_APP_BUCKET_ENDPOINT"]
        found.append(S3Destination("offsite", bucket=bucket, prefix="backups", endpoint=endpoint))
    if app.config["HOST_APP_NAS"]:
        found.append(DirectoryDestination("nas", app.config["HOST_APP_NAS"]))
    return found


def _prepare(app: Flask, folder: Path) -> None:
    """Give the instance its secret key and its tables, once however many processes start."""
    with (folder / ".lock").open("a") as lock, app.app_context():
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not app.secret_key:
            app.secret_key = _secret_key(folder / "secret_key")
        database.bring_up_to_date(app)


def _secret_key(path: Path) -> str:
    if not path.exists():
        part = path.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(secrets.token_hex(32), encoding="ascii")
        part.replace(path)
    return path.read_text(encoding="ascii")


def _refuse_nul() -> None:
    """No address here holds one, and not every database takes a text with it."""
    if "\0" in request.path:
        abort(404)


def _secure(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", _CONTENT_SECURITY_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response


def _error_page(error: Exception) -> Response | tuple[str, int]:
    if not isinstance(error, HTTPException) or error.code is None:
        raise error
    return render_template("error.html", error=error), error.code


def _when(moment: datetime) -> str:
    """A time of the database (UTC, without a zone) for people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _plain_json(value: object) -> str:
    """JSON to be read by people, and to be escaped by the template."""
    return json.dumps(value, ensure_ascii=False)
