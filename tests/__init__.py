"""The tests, the torture and the benchmarks: no backup begins by itself in any of their hosts."""

import os

os.environ.setdefault("HOST_APP_SCHEDULE", "")
