"""Questions about the assets of a store, answered from a database that is a cache of its log.

- **catalog**: an SQLite file in the cache directory, filled as needed and made again when lost.
- **document**: a small YAML, JSON or TOML file, read as values under dotted keys.
- **fact**: a value that an asset states in a document or in its metadata.
- **role**: what a fact or a file is: code, a parameter, a metric or data.
- **condition**: what `find` asks of a fact: `loss<0.3`.
- **overview**: what there is, at a glance.
"""
