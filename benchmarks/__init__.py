"""What things cost, on this machine, with the real servers: figures for people, never tests."""
