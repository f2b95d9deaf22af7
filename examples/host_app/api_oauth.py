"""The part of the API by which a client signs in: `mix hex.user auth` and `deauth`."""

from __future__ import annotations

from flask import Response, request, url_for

from examples.host_app import devices
from examples.host_app.api import answer, body, new_blueprint
from examples.host_app.devices import GrantError, Tokens
from examples.host_app.throttle import TooManyError

# What a client has sent before may have expired: it counts for nothing here.
blueprint = new_blueprint("api_oauth", "/api/oauth", for_accounts=False)

_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


@blueprint.errorhandler(GrantError)
def _no_grant(error: GrantError) -> Response:
    return answer({"error": error.code, "error_description": str(error)}, 400)


@blueprint.errorhandler(TooManyError)
def _too_many(error: TooManyError) -> Response:
    said = answer({"status": 429, "message": str(error)}, 429)
    said.headers["Retry-After"] = str(error.seconds)
    return said


@blueprint.after_request
def _never_store(said: Response) -> Response:
    said.headers["Cache-Control"] = "no-store"
    return said


@blueprint.post("/device_authorization")
def device_authorization() -> Response:
    asked = body()
    name, scope = asked.get("name"), asked.get("scope")
    secret, code = devices.begin(
        name if isinstance(name, str) else "",
        scope if isinstance(scope, str) else "",
        request.remote_addr,
    )
    return answer(
        {
            "device_code": secret,
            "user_code": code.user_code,
            "verification_uri": url_for("device_pages.ask", _external=True),
            "verification_uri_complete": url_for(
                "device_pages.ask", user_code=code.user_code, _external=True
            ),
            "expires_in": int(devices.CODE_LIFE.total_seconds()),
            "interval": devices.INTERVAL.seconds,
        }
    )


@blueprint.post("/token")
def token() -> Response:
    asked = body()
    if asked.get("grant_type") == _DEVICE_CODE:
        return _tokens(devices.exchange(_text(asked.get("device_code"))))
    if asked.get("grant_type") == "refresh_token":
        return _tokens(devices.refresh(_text(asked.get("refresh_token"))))
    raise GrantError("unsupported_grant_type", "There are device codes and refresh tokens here.")


@blueprint.post("/revoke")
def revoke() -> Response:
    """Also for a token that is not known: RFC 7009, 2.2."""
    devices.revoke(_text(body().get("token")))
    return Response(status=200)


def _tokens(tokens: Tokens) -> Response:
    return answer(
        {
            "access_token": tokens.access,
            "refresh_token": tokens.refresh,
            "token_type": "Bearer",
            "expires_in": int(devices.ACCESS_LIFE.total_seconds()),
        }
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise GrantError("invalid_request", "The code or token is missing.")
    return value
