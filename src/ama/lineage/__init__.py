"""Lineage: which assets were made from which, and how that is shown."""
