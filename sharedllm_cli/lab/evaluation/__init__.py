"""Quality measured: whether the passage is found, and what an answer is worth by what the model could read."""
