"""Unit tests of mutual TLS: certificates made in memory, handshakes through memory."""
