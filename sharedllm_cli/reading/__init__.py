"""From documents and a question to what the model reads: opened documents, leaf scores, sources."""
