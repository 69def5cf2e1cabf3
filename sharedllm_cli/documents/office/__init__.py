"""Office files, mails and notebooks: what a reader sees in them, as HTML or rows that the shared writers write."""
