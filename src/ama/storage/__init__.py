"""Storages: bytes under names at a URL. They know nothing of objects.

`protocol` says what a storage is, `local` and `memory` are two, `counting` and `readonly` wrap
another, and `opening` makes one from a URL.
"""
