"""Tests: C{unit} without sockets or sleeping, C{integration} on real servers, started by L{tests.real}."""
