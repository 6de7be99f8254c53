"""One module for each way to release; a module with a `SCENARIO` is found by itself."""

from __future__ import annotations

import importlib
import pkgutil

from ..stage import Scenario


def all_scenarios() -> dict[str, Scenario]:
    """Every scenario by name."""
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    found = (getattr(module, "SCENARIO", None) for module in modules)
    return {scenario.name: scenario for scenario in found if scenario}
