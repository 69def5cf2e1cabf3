"""PDF files: their characters in the order of a reader, and what lies beside the text."""
