"""Makes the pages and pictures of docs/ that come from the code."""
