"""Questions about the assets of a store, answered from a database that caches its log.

- **catalog**: an SQLite file in the cache directory, filled as needed and made again when lost.
- **document**: a file that is read as values under dotted keys, such as a small YAML file.
- **fact**: a value that an asset states in a document or in its metadata.
- **role**: the purpose of a fact or a file: code, parameter, metric or data.
- **condition**: a test of a fact in `find`: `loss<0.3`.
- **overview**: the classes and assets of a store at a glance.
"""
