"""What the proxy says of the versions: in force, held out."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from ..envoy import Metrics


@dataclass(frozen=True)
class Standing:
    """Where a version stands on this proxy."""

    #: Percent of users in force now.
    in_force: float
    held_out: bool
    #: Trips by cause.
    trips: int
    cause: str | None


async def standings(admin: str, rollout: str, http: aiohttp.ClientSession) -> dict[str, Standing]:
    """Every version that the proxy has a weight for."""
    async with http.get(f"{admin.rstrip('/')}/stats/prometheus", params={"filter": "cohort_(version|guard)"}) as told:
        metrics = Metrics(await told.text())
    found = {}
    for version, weight in metrics.by("rollout_version", "cohort_version_weight", rollout=rollout).items():
        labels = {"rollout": rollout, "rollout_version": version}
        causes = metrics.by("cause", "cohort_guard_trips_total", **labels)
        found[version] = Standing(
            in_force=weight / 1000,
            held_out=metrics.sum("cohort_version_held_out", **labels) > 0,
            trips=int(sum(causes.values())),
            cause=max(causes, key=causes.__getitem__, default=None),
        )
    return found
