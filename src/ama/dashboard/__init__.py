"""Pages about one store, served to a browser or written as files. It only reads.

- **view**: the content of one page; a template makes it HTML.
- **query**: the words behind an address's `?`, within limits.
- **preview**: the part of a file that a page shows. Nothing of the file runs.
- **export**: the same pages as files, for any web server.
"""
