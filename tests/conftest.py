"""Fixtures for all tests, one file a concern."""

pytest_plugins = [
    "tests.fix_postgres",
    "tests.fix_sidecar",
    "tests.fix_shop",
    "tests.fix_live",
    "tests.fix_web",
    "tests.fix_faults",
    "tests.fix_stepwise",
    "tests.fix_storage",
    "tests.fix_pgbouncer",
    "tests.fix_replica",
    "tests.fix_http",
    "tests.fix_promtool",
]
