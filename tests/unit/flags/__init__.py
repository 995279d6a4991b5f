"""Tests of L{tile38cm.flags}."""
