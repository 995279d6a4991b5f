"""Suites that every provider of an interface passes, be it real or ours."""
