"""Unit tests, a folder for each package: no sockets, no sleeping, no processes."""
