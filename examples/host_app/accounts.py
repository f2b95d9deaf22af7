"""Signing in and out: passwords, second factors, sessions."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable

import bcrypt
from flask import Blueprint, Flask, redirect, render_template, request, session, url_for
from flask_login import (  # type: ignore[import-untyped]
    LoginManager,
    current_user,
    login_user,
    logout_user,
)
from sqlalchemy import delete, or_, select, update
from werkzeug.security import check_password_hash
from werkzeug.wrappers import Response

from examples.host_app import known_browser, throttle, totp
from examples.host_app.audit import record_audit_event
from examples.host_app.models import Device, DeviceCode, User, db, new_session_token
from examples.host_app.throttle import TooManyError
from hexhub_backup import signals

blueprint = Blueprint("accounts", __name__)
login_manager = LoginManager()

# A check against it takes as long as that of a real account: the time tells nobody who is one.
_NOBODY = (
    "scrypt:32768:8:1$nobody$0000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
)
# bcrypt reads no further; the library refuses more instead of passing over it.
_BCRYPT_BYTES = 72
# Databases limit how many values a statement may have.
_BATCH = 500
# How many sign-ins may fail in a quarter of an hour.
_GUESSES, _GUESSES_OF_ADDRESS = 10, 50
# A path of this site. Browsers drop tabs and line breaks, and read `\` as `/`.
_LOCAL_TARGET = re.compile(r"/(?![/\\])[^\x00-\x20\x7f\\]*")


class SignInError(Exception):
    """Why somebody may not sign in, in words for them."""


def check_password(password_hash: str, password: str) -> bool:
    """Whether the password fits a hash of bcrypt (`$2…`) or of Werkzeug; no to any other hash."""
    try:
        if password_hash.startswith("$2"):
            return bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], password_hash.encode())
        return check_password_hash(password_hash, password)
    except ValueError:
        return False


def authenticate(username: str, password: str, code: str) -> User:
    """The account that these belong to.

    Raises SignInError, which says what to do, and TooManyError for who has tried too often.
    """
    user = None
    if "\0" not in username:
        user = db.session.scalar(select(User).where(User.username == username))
    limits = _limits(user.username if user else username)
    attempt = throttle.begin(limits)
    fits = check_password(user.password_hash if user else _NOBODY, password)
    if user is None or not fits:
        raise SignInError("The user name or the password is wrong. Try again.")
    if not user.is_active:
        raise SignInError("This account is deactivated. Ask an administrator to reactivate it.")
    if user.totp_enabled:
        _check_second_factor(user, code)
    attempt.succeeded(next(iter(limits)))
    return user


def _limits(username: str) -> dict[str, int]:
    """How many attempts may fail, first of all with what is forgiven when one succeeds.

    Of an account as many as of a browser that it knows; of an address more, as many may share it.
    """
    if browser := known_browser.of_request(username):
        return {throttle.key_of("browser", browser): _GUESSES}
    return {
        throttle.key_of("account", username): _GUESSES,
        throttle.address_key("address", request.remote_addr): _GUESSES_OF_ADDRESS,
    }


def _check_second_factor(user: User, code: str) -> None:
    """Take the code, once (RFC 6238, 5.2). Raises SignInError where it is not to be taken."""
    try:
        step = totp.matching_step(user.totp_secret, code) if user.totp_secret else None
    except ValueError:
        step = None
    if step is None:
        raise SignInError(
            "This account needs the 6-digit code that its authenticator app shows now."
        )
    is_new = or_(User.totp_used_step.is_(None), User.totp_used_step < step)
    with db.engine.begin() as connection:
        taken = connection.execute(
            update(User).where(User.id == user.id, is_new).values(totp_used_step=step)
        )
    if taken.rowcount == 0:
        raise SignInError("This code has been used already. Wait for the next one.")


def local_target(target: str | None) -> str | None:
    """`target` where it is a path of this site, else None: a sign-in leads nowhere else."""
    return target if target and _LOCAL_TARGET.fullmatch(target) else None


def _load_user(session_id: str) -> User | None:
    number = session_id.partition(".")[0]
    user = db.session.get(User, int(number)) if number.isdecimal() else None
    if user is None or not user.is_active:
        return None
    return user if hmac.compare_digest(user.get_id(), session_id) else None


def _ask_to_sign_in() -> Response:
    target = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("accounts.login", next=target), code=302)


def private_blueprint(name: str, url_prefix: str) -> Blueprint:
    """Pages for those who are signed in, which no cache keeps."""
    pages = Blueprint(name, __name__, url_prefix=url_prefix)
    pages.before_request(sign_in_first)
    pages.after_request(_keep_out_of_caches)
    return pages


def sign_in_first() -> Response | None:
    """What leads to the sign-in, for whoever is not signed in."""
    if current_user.is_authenticated:
        return None
    answer: Response = login_manager.unauthorized()
    return answer


def _keep_out_of_caches(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def end_sessions(usernames: Iterable[str]) -> None:
    """End every session and remember-me cookie of these accounts, and sign out their devices, in
    transactions of its own."""
    names = list(usernames)
    for at in range(0, len(names), _BATCH):
        named = User.username.in_(names[at : at + _BATCH])
        # Not in the transaction that deletes: InnoDB may refuse that where it has read before.
        with db.engine.connect() as connection:
            ids = connection.scalars(select(User.id).where(named)).all()
        with db.engine.begin() as connection:
            # The code before the device, as `devices.exchange` has it: a client that gets its
            # tokens at the same time is signed out too, and neither waits for the other forever.
            for model in (DeviceCode, Device):
                connection.execute(delete(model).where(model.user_id.in_(ids)))
            # One that accounts share is as good: what a session holds hangs on the number, too.
            changed = update(User).where(User.id.in_(ids))
            connection.execute(changed.values(session_token=new_session_token()))


def _on_changed_credentials(_app: Flask, *, credentials: Iterable[str], **_extra: object) -> None:
    """A restore, or the undo of one, has changed who may sign in and with what."""
    end_sessions(credentials)


def listen(app: Flask) -> None:
    """End the sessions of accounts that a restore or an undo changes."""
    for signal in (signals.restore_completed, signals.restore_undone):
        signal.connect(_on_changed_credentials, app)


login_manager.user_loader(_load_user)
login_manager.unauthorized_handler(_ask_to_sign_in)


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> Response | str | tuple[str, int, dict[str, str]]:
    target = local_target(request.args.get("next"))
    if request.method == "GET":
        if current_user.is_authenticated:
            return redirect(target or url_for("pages.index"), code=302)
        return render_template("login.html", username="", problem=None)
    username = request.form.get("username", "")
    try:
        user = authenticate(
            username, request.form.get("password", ""), request.form.get("code", "")
        )
    except (SignInError, TooManyError) as error:
        page = render_template(
            "login.html", username=username, problem=str(error), remember="remember" in request.form
        )
        if isinstance(error, TooManyError):
            return page, 429, {"Retry-After": str(error.seconds)}
        return page, 422, {}
    # Signing out first forgets the remember-me cookie of whoever was here before.
    session.clear()
    logout_user()
    login_user(user, remember="remember" in request.form)
    record_audit_event("user.signed_in", actor=user.username, address=request.remote_addr)
    home = "admin.dashboard" if user.is_admin else "pages.index"
    answer = redirect(target or url_for(home), code=303)
    known_browser.remember(answer, user.username)
    return answer


@blueprint.post("/logout")
def logout() -> Response:
    # In this order: it notes in the session that the remember-me cookie has to go.
    session.clear()
    logout_user()
    return redirect(url_for("pages.index"), code=303)
