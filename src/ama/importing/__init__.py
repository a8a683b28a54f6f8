"""Bringing in what is there: archives and directories elsewhere become assets.

A *source* is one file or directory at a URL. A *rule* says which of its *members* become an asset,
and what that asset says of itself.
"""
