"""The product in both modes, each started when the first test wants it and kept for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.contract.rows import MODES
from tests.contract.tenants import Tenant, add_tenant
from tests.contract.world import User, World, open_world


@pytest.fixture(scope="session")
def worlds() -> Iterator[Callable[[str], World]]:
    """The running product of a mode. Both may run at once: no test waits for the other mode's to stop."""
    running: dict[str, World] = {}
    with ExitStack() as stack:

        def of(mode: str) -> World:
            if mode not in running:
                running[mode] = stack.enter_context(open_world(mode))
            return running[mode]

        yield of


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Every test runs in both modes, unless it says which."""
    found: str = request.param
    return found


@pytest.fixture
def world(mode: str, worlds: Callable[[str], World]) -> World:
    return worlds(mode)


@pytest.fixture
def owner(world: World) -> User:
    """Somebody new."""
    return world.user()


@pytest.fixture(scope="session")
def tenants() -> dict[str, tuple[Tenant, Tenant]]:
    return {}


@pytest.fixture(params=["Ann looks at Bob's", "Bob looks at Ann's"])
def pair(
    world: World, tenants: dict[str, tuple[Tenant, Tenant]], request: pytest.FixtureRequest
) -> tuple[Tenant, Tenant]:
    """Who looks, and at whom. The same two for all tests of a mode: none of these may change anything."""
    if world.mode not in tenants:
        tenants[world.mode] = (add_tenant(world), add_tenant(world))
    ann, bob = tenants[world.mode]
    return (ann, bob) if request.param.startswith("Ann") else (bob, ann)
