"""HTML, Markdown, reStructuredText and EPUB as plain text with their structure."""
