"""One file = one tab: which pictures of which roles."""
