"""Tests on real Consul and real Tile38, on loopback and on ports from the kernel."""
