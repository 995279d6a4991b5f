"""Unit tests, a folder for each package: no sockets, no sleeping, no processes."""

from hypothesis import HealthCheck, settings

# How long generating takes says how busy the machine is, not whether a test is right.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
