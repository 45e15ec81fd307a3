"""Fixtures for all tests, one file a concern."""

pytest_plugins = [
    "tests.fix_postgres",
    "tests.fix_sidecar",
    "tests.fix_shop",
    "tests.fix_live",
    "tests.fix_http",
    "tests.fix_promtool",
]
