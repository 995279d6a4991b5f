"""Fixtures for pytest: C{pytest_plugins = ["tile38cm.dev.fixtures"]} in an application's C{conftest.py}."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tile38cm.dev.cluster import DevCluster


@pytest.fixture(scope="session")
def tile38_cluster() -> Iterator[DevCluster]:
    """Three nodes that agree, for all tests of a session; see L{DevCluster}."""
    with DevCluster(3) as cluster:
        cluster.wait_converged()
        yield cluster
