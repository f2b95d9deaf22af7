"""The app of the Celery workers: `celery -A examples.host_app.worker worker --queues backups`."""

from __future__ import annotations

from examples.host_app import create_app

flask_app = create_app()
celery_app = flask_app.extensions.get("celery")
if celery_app is None:
    raise SystemExit("A worker needs a broker: name one in HOST_APP_BROKER.")
