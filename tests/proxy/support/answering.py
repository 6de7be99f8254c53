"""An Envoy as the upstream of another: the guard believes only answers that an upstream gave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lab import bootstrap
from lab.envoy import Envoy

#: Sends every request to the cluster of `answering`, which reads the route header itself.
THERE: list[dict[str, Any]] = [{"match": {"prefix": "/"}, "route": {"cluster": "answering"}}]


@asynccontextmanager
async def answering(routes: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """What another Envoy needs to have its requests answered by these `routes` of an Envoy that decides nothing."""
    async with Envoy(config={"rollouts": []}, routes=routes) as envoy:
        yield {"clusters": {"answering": envoy.address}, "routes": THERE}


def failing(routes: list[dict[str, Any]], status: int = 503) -> list[dict[str, Any]]:
    """Routes of `bootstrap.answer_directly`, the first of which answers with this status."""
    first, *others = routes
    return [{**first, "direct_response": {"status": status}}, *others]


def answers() -> list[dict[str, Any]]:
    """Answers of rollout checkout's canary and stable."""
    return bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable")
