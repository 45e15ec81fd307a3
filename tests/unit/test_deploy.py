"""Dockerfile and docker-compose.yml name only what exists: paths, services, commands, options,
settings.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from sidecar.settings import ENVIRONMENT
from tests.checkout import ROOT, check_command

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line[:1].isupper()]


def test_every_copied_path_exists_and_reaches_docker() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [
        source for name, rest in INSTRUCTIONS if name == "COPY" for source in rest.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.rstrip("/") not in ignored, source


def test_the_image_is_installed_from_the_constraints() -> None:
    installs = [rest for name, rest in INSTRUCTIONS if name == "RUN" and "pip install" in rest]
    assert installs
    assert all("-c constraints.txt" in install for install in installs)


def test_the_image_holds_what_the_wheel_is_built_from() -> None:
    copied = {
        source for name, rest in INSTRUCTIONS if name == "COPY" for source in rest.split()[:-1]
    }
    assert {
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "LICENSE",
        "sidecar",
        "migrations",
        "sql",
    } <= copied


def test_the_image_runs_a_command_that_exists() -> None:
    words = {name: json.loads(rest) for name, rest in INSTRUCTIONS if name in ("ENTRYPOINT", "CMD")}
    assert words["ENTRYPOINT"] == ["sidecar"]
    check_command(words["CMD"])


@pytest.mark.parametrize("name", SERVICES)
def test_service_runs_commands_that_exist(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert (ROOT / service["build"] / "Dockerfile").exists()
        check_command(service["command"])
    kind, *words = service.get("healthcheck", {}).get("test", ["NONE"])
    if words[:1] == ["sidecar"]:
        assert kind == "CMD"
        check_command(words[1:])


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_set_by_settings_that_exist(name: str) -> None:
    for variable in SERVICES[name]["environment"]:
        assert variable in ENVIRONMENT or variable.startswith("POSTGRES_"), variable


@pytest.mark.parametrize("name", SERVICES)
def test_service_waits_for_services_of_its_profiles(name: str) -> None:
    service = SERVICES[name]
    for other, condition in service.get("depends_on", {}).items():
        profiles = SERVICES[other].get("profiles")
        assert profiles is None or set(service["profiles"]) <= set(profiles), other
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", SERVICES)
def test_service_mounts_only_what_exists(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, _, _ = mount.partition(":")
        assert source in COMPOSE["volumes"] or (ROOT / source).exists(), source


def test_the_model_cache_is_a_directory_that_the_images_user_owns() -> None:
    mounts = [
        mount
        for service in SERVICES.values()
        for mount in service.get("volumes", [])
        if "models" in mount
    ]
    assert mounts
    for mount in mounts:
        assert f"install -d -o sidecar {mount.partition(':')[2]}" in DOCKERFILE


def test_sidecars_start_after_the_migration_is_through() -> None:
    workers = [service for service in SERVICES.values() if service.get("command") == ["run"]]
    assert {tuple(worker["profiles"]) for worker in workers} == {("gpu",), ("cpu",)}
    for worker in workers:
        assert worker["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        assert "healthcheck" in worker


def test_the_database_and_the_url_agree() -> None:
    database = SERVICES["db"]["environment"]
    url = SERVICES["migrate"]["environment"]["DATABASE_URL"]
    found = re.fullmatch(r"postgresql://(\w+):(.+)@(\w+):5432/(\w+)", url)
    assert found is not None
    assert found.groups() == (
        database["POSTGRES_USER"],
        database["POSTGRES_PASSWORD"],
        "db",
        database["POSTGRES_DB"],
    )
