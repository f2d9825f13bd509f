"""Backups of the databases and files of this host, and their way back. Standard library only; root runs it."""
