"""From files to text: what a document says, and the page that each character of it stands on."""
