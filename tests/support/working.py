"""The app of the workers of the tests: the example host, whose backups a test can hold."""

from __future__ import annotations

from tests.support.serving import held

flask_app = held()
celery_app = flask_app.extensions["celery"]
