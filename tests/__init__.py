"""Tests: C{unit} without sockets or sleeping, C{integration} on real servers, which L{tests.real} finds and starts."""
