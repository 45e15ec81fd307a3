"""Puts migrations/ and sql/ inside a wheel's package; editable installs read the checkout's."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Inside(BuildHookInterface):  # type: ignore[type-arg]
    """A hook, for hatch's own force-include setting copies the files into editable installs too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            for name in ("migrations", "sql"):
                build_data["force_include"][f"{self.root}/{name}"] = f"sidecar/_{name}"
