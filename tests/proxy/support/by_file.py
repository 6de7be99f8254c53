"""An Envoy whose listener comes from a file (LDS), so that it can be changed as a whole."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from lab import bootstrap
from lab.envoy import Envoy
from lab.until import until


class ByFile(Envoy):
    """An Envoy whose listener comes from a file too, so that the filter can be taken out of it."""

    def _write_filter(self) -> bool:
        if not hasattr(self, "document"):
            self.document = self.bootstrap["static_resources"].pop("listeners")[0]
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                port = one.getsockname()[1]
            self.document["address"]["socket_address"]["port_value"] = port
            self.listeners = self.directory / "listeners"
            self.listeners.mkdir()
            source = {"path": str(self.listeners / "lds.yaml"), "watched_directory": {"path": str(self.listeners)}}
            self.bootstrap["dynamic_resources"] = {
                "lds_config": {"resource_api_version": "V3", "path_config_source": source}
            }
            self.write_listener(self.document)
        return super()._write_filter()

    def write_listener(self, listener: dict[str, Any]) -> None:
        kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
        beside = self.listeners / ".new"
        beside.write_text(bootstrap.dump({"resources": [{"@type": kind, **listener}]}))
        os.replace(beside, self.listeners / "lds.yaml")

    _has_discovery = True

    async def _listeners(self) -> bool:
        self.ports = {"http": self.document["address"]["socket_address"]["port_value"]}
        stats = await self.stats("^listener_manager[.]listener_create_success$")
        return sum(stats.values()) >= 1

    async def with_filter(self, present: bool) -> None:
        listener = json.loads(json.dumps(self.document))
        if not present:
            bootstrap.connection_manager({"static_resources": {"listeners": [listener]}})["http_filters"].pop(0)
        name = "^listener_manager[.]listener_in_place_updated$"
        before = sum((await self.stats(name)).values())
        self.write_listener(listener)

        async def taken() -> bool:
            warming = sum((await self.stats("^listener_manager[.]total_listeners_warming$")).values())
            return sum((await self.stats(name)).values()) > before and not warming

        await until(taken, "the listener", timeout=30)
