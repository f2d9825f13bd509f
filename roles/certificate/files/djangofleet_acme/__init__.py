"""Has the certificates of this host issued and renewed by an ACME authority, and puts them in place."""
