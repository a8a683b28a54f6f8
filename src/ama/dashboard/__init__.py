"""Pages about one store, served to a browser or written as files. It only reads.

- **view**: the content of one page; a template makes it HTML.
- **query**: what an address asks for: the words behind its `?`, within limits.
- **preview**: what a page shows of a file. Nothing of the file runs.
- **export**: the same pages as files, for any web server.
"""
