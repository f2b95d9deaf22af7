"""Long lists, a page at a time."""

from __future__ import annotations

from typing import Any

from flask import abort, request
from flask_sqlalchemy.pagination import Pagination
from sqlalchemy import Select

from examples.host_app.models import db

PAGE_SIZE = 50
# A larger number would leave the range of a database's integers.
_MAX_DIGITS = 9


def paginate(query: Select[Any]) -> Pagination:
    """The page of `query` that the address asks for with `?page=`; 404 where there is none."""
    if len(request.args.get("page", "")) > _MAX_DIGITS:
        abort(404)
    return db.paginate(query, per_page=PAGE_SIZE, max_per_page=PAGE_SIZE)
