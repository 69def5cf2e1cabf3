"""Training an adapter: data, objective, loop, checkpoints, and how well its answers do."""
