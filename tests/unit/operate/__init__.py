"""What an operator sees of a node, without a network."""
