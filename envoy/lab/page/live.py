"""The live `filter.yaml`: read, changed, in force."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from .. import bootstrap as boots
from ..until import until

Config = dict[str, Any]


class Refused(Exception):
    """Envoy kept the configuration it had; the file is as it was before."""


class Live:
    """A filter file that an Envoy watches, changed one writer at a time."""

    def __init__(self, path: Path, admin: str, http: aiohttp.ClientSession) -> None:
        self.path = path
        self._admin = admin.rstrip("/")
        self._http = http
        self._one_at_a_time = asyncio.Lock()

    def config(self) -> Config:
        """The plugin configuration, as the file has it now: others may write it too."""
        file = yaml.safe_load(self.path.read_text())
        return yaml.safe_load(boots.wasm(file)["configuration"]["value"])

    async def change(self, edit: Callable[[Config], None]) -> float:
        """Changes the configuration in place; returns when every worker has it, after that many seconds."""
        async with self._one_at_a_time:
            before = self.path.read_text()
            file, config = yaml.safe_load(before), self.config()
            edit(config)
            if config == self.config():
                return 0.0
            boots.set_config(file, config)
            seen, began = await self.discovery(), time.monotonic()
            self._write(boots.dump(file))
            if not await self._taken(seen):
                self._write(before)
                raise Refused("Envoy refused the configuration; the one before stays in force")
            return time.monotonic() - began

    def _write(self, text: str) -> None:
        """Beside it and then into place, which is what Envoy watches for."""
        beside = self.path.with_name(f".{self.path.name}.page")
        beside.write_text(text)
        os.replace(beside, self.path)

    async def _taken(self, before: dict[str, int]) -> bool:
        """Awaits Envoy's word on what was written last. A reload is counted when the last worker has it."""

        async def word() -> str | None:
            now = await self.discovery()
            grew = (c for c in ("update_rejected", "config_reload") if now.get(c, 0) > before.get(c, 0))
            return next(grew, None)

        return await until(word, "Envoy's word on filter.yaml") == "config_reload"

    async def discovery(self) -> dict[str, int]:
        """The counters of the filter's discovery."""
        sums: dict[str, int] = {}
        async with self._http.get(f"{self._admin}/stats", params={"filter": "extension_config_discovery"}) as told:
            for line in (await told.text()).splitlines():
                name, _, value = line.rpartition(": ")
                if value.isdigit():
                    key = name.rpartition(".")[2]
                    sums[key] = sums.get(key, 0) + int(value)
        return sums
