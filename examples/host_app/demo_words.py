"""What the seeded packages and people are called."""

from __future__ import annotations

#: Name and description; more packages than these are named by `FIRST` and `SECOND`.
PACKAGES = (
    ("auth_gate", "Sessions, roles and second factors for Plug applications"),
    ("billing_core", "Invoices, credit notes and dunning, as pure functions"),
    ("cache_wise", "Ein Zwischenspeicher, der weiß, wann er vergessen muss"),
    ("feature_flags", "Turn features on for some, then for all"),
    ("geo_index", "Nearest neighbours on a sphere – R-trees without surprises"),
    ("http_retry", "Retries with jitter, budgets and a circuit breaker"),
    ("image_proxy", "Resize, crop and sign image addresses"),
    ("job_queue", "Background jobs in PostgreSQL, exactly as often as you asked"),
    ("kafka_bridge", "Broadway producers for topics that never end"),
    ("ledger", "Double-entry bookkeeping; every cent has two homes"),
    ("mail_kit", "Compose, preview and send mail – UTF-8 headers included"),
    ("nihongo", "日本語の形態素解析と読み仮名"),
    ("open_metrics", "Counters, gauges and histograms in the OpenMetrics format"),
    ("paginator", "Keyset pagination for Ecto"),
    ("query_guard", "Finds the query without a limit before your users do"),
    ("rate_keeper", "Token buckets that agree across nodes"),
    ("slugify_plus", "Slugs for “naïve café”, Ελλάδα and Київ"),
    ("telemetry_ui", "A page for what your node is doing now"),
    ("uuid_v7", "Identifiers that sort by time"),
    ("vault_client", "Leases, renewals and rotation of secrets"),
    ("webhook_relay", "Deliver once, sign always, replay when asked"),
    ("xml_stream", "Pull parser for documents larger than memory"),
    ("yaml_front", "Front matter for Markdown files"),
    ("zip_writer", "Zip files streamed as they are made"),
)
FIRST = (
    *("amber", "brisk", "calm", "dusty", "early", "frosty", "gentle", "hidden", "ivory", "jolly"),
    *("keen", "lunar", "mellow", "noble", "olive", "polar", "quiet", "rapid", "silver", "tidal"),
)
SECOND = (
    *("anchor", "beacon", "cache", "driver", "engine", "filter", "graph", "harbor", "index"),
    *("journal", "kernel", "logger", "mapper", "notifier", "oracle", "parser", "queue", "router"),
    *("socket", "tracker"),
)
#: What is cached here of an upstream registry; seeded packages require these.
CACHED = (
    ("jason", "A blazing fast JSON parser and generator in pure Elixir"),
    ("plug", "Compose web applications with functions"),
    ("decimal", "Arbitrary precision decimal arithmetic"),
)
#: User name and the part of the mail address before the @. `seed.py` knows them by their place.
PEOPLE = (
    ("alice", "alice"),
    ("bob.builder", "bob+hex"),
    ("chloé", "chloé.dupont"),
    ("dmitri", "дмитрий"),
    ("elif_ş", "elif.şahin"),
    ("farah", "farah"),
    ("grace-h", "grace.hopper"),
    ("haruki", "春樹"),
    ("ingrid", "ingrid.ødegård"),
    ("joão", "joão"),
    ("ci-bot", "service+ci-bot"),
)
