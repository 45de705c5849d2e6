"""Every named query, wherever in `storage` it is loaded: no list of modules that one could be missing from."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import storage
from schema.queries import Query


def all_queries() -> list[Query[object]]:
    """Sorted by name."""
    modules = (import_module(f"storage.{found.name}") for found in iter_modules(storage.__path__))
    queries = {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Query)}
    return [queries[name] for name in sorted(queries)]
