"""The tables of a catalog, and the two ways between files and their assets."""

from __future__ import annotations

import json
import math

from ama.catalog.documents import Value
from ama.catalog.unread import Plain

FILE = "catalog-13.sqlite"
"""The version of the tables is in the name: catalogs of other versions of ama are left alone."""

SCHEMA = """
-- How far the log was read: the number of an entry, and the hash of its bytes; and whether what
-- the assets hold that it names was read too.
CREATE TABLE IF NOT EXISTS state (
    number INTEGER NOT NULL, entry_hash BLOB NOT NULL, complete INTEGER NOT NULL
);

-- Directories. size: of all files in it and below; own, own_text: how many files it has itself, and
-- the characters of their names; encoded: its entries. NULL until it is here. files, text: the same
-- of all files in it and below, and of their paths; documents: how many of these are documents.
-- NULL until everything below is here.
CREATE TABLE IF NOT EXISTS trees (
    id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE,
    size INTEGER, own INTEGER, own_text INTEGER,
    files INTEGER, text INTEGER, documents INTEGER, encoded BLOB
);
CREATE TABLE IF NOT EXISTS directories (
    tree INTEGER NOT NULL, name TEXT NOT NULL, child INTEGER NOT NULL,
    PRIMARY KEY (tree, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS directories_by_child ON directories (child);

-- Which trees hold which files. content: see `content_key`.
CREATE TABLE IF NOT EXISTS files (
    content INTEGER NOT NULL, tree INTEGER NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (content, tree)
) WITHOUT ROWID;

-- number: NULL for one that others were made from and that is published in another store only.
-- unread: why an asset, one of its trees or of its documents could not be read.
CREATE TABLE IF NOT EXISTS assets (
    id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, class TEXT NOT NULL,
    number INTEGER, status TEXT NOT NULL,
    data BLOB, tree INTEGER, author TEXT, created_at INTEGER, message TEXT, unread TEXT
);
CREATE INDEX IF NOT EXISTS assets_by_class ON assets (class, number);
CREATE INDEX IF NOT EXISTS assets_by_tree ON assets (tree);
CREATE INDEX IF NOT EXISTS assets_by_time ON assets (created_at);
CREATE INDEX IF NOT EXISTS assets_unread ON assets (class, hash) WHERE unread IS NOT NULL;

CREATE TABLE IF NOT EXISTS aliases (class TEXT NOT NULL, alias TEXT NOT NULL, asset BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS aliases_by_asset ON aliases (asset);

-- What an asset was made from, and which assets it is a next version of. source: what a ref is
-- called where it says something for the asset; see `source_names`.
CREATE TABLE IF NOT EXISTS links (
    asset INTEGER NOT NULL, kind TEXT NOT NULL, target BLOB NOT NULL,
    class TEXT NOT NULL, label TEXT NOT NULL, source TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS links_by_asset ON links (asset);
CREATE INDEX IF NOT EXISTS links_by_target ON links (target);

-- What says something for an asset: what it was made from, of another class.
CREATE VIEW IF NOT EXISTS inputs AS
    SELECT links.asset, target, links.class, links.rowid AS at, source
    FROM links JOIN assets ON assets.id = links.asset
    WHERE kind = 'ref' AND links.class != assets.class;

-- With what was recorded of its run, under `run.`. number is NULL for what is no number, or none
-- that can be compared.
CREATE TABLE IF NOT EXISTS metadata (
    asset INTEGER NOT NULL, key TEXT NOT NULL,
    kind TEXT NOT NULL, number REAL, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS metadata_by_asset ON metadata (asset);

-- What was said later of assets and classes, in the order of the log. asset: NULL where it is about
-- the class itself, whose newest message is its description; file: its name, NULL without one.
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY, class TEXT NOT NULL, asset BLOB, entry INTEGER NOT NULL,
    author TEXT NOT NULL, at INTEGER NOT NULL, message TEXT NOT NULL,
    file TEXT, content BLOB, size INTEGER
);
CREATE INDEX IF NOT EXISTS notes_by_class ON notes (class, asset);

-- What notes add up to now: the newest value under each key, and the tags; asset as in metadata.
CREATE TABLE IF NOT EXISTS noted (
    asset INTEGER NOT NULL, key TEXT NOT NULL,
    kind TEXT NOT NULL, number REAL, text TEXT NOT NULL, note INTEGER NOT NULL,
    PRIMARY KEY (asset, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (
    asset INTEGER NOT NULL, tag TEXT NOT NULL, note INTEGER NOT NULL,
    PRIMARY KEY (asset, tag)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_by_tag ON tags (tag);

-- An asset's metadata with what was noted later: the newest value under each key.
CREATE VIEW IF NOT EXISTS told AS
    SELECT asset, key, kind, number, text FROM metadata
    WHERE NOT EXISTS (
        SELECT 1 FROM noted WHERE noted.asset = metadata.asset AND noted.key = metadata.key
    )
    UNION ALL SELECT asset, key, kind, number, text FROM noted;

-- problem: "unread" until its file was read, which is tried again where it is damaged or away.
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY, content BLOB NOT NULL, syntax TEXT NOT NULL, problem TEXT,
    UNIQUE (content, syntax)
);
CREATE INDEX IF NOT EXISTS documents_unread ON documents (id) WHERE problem = 'unread';

-- Where the documents are.
CREATE TABLE IF NOT EXISTS places (
    tree INTEGER NOT NULL, name TEXT NOT NULL, document INTEGER NOT NULL,
    PRIMARY KEY (tree, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS places_by_document ON places (document);

CREATE TABLE IF NOT EXISTS parameters (
    document INTEGER NOT NULL, key TEXT NOT NULL,
    kind TEXT NOT NULL, number REAL, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS parameters_by_document ON parameters (document, key);

-- What of a document could not be read. key: NULL for all of it, or the rest.
CREATE TABLE IF NOT EXISTS gaps (document INTEGER NOT NULL, key TEXT, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS gaps_by_document ON gaps (document);
"""

TABLES = (
    "state trees directories files assets aliases links metadata notes noted tags documents places"
    " parameters gaps"
).split()


def content_key(content: bytes) -> int:
    """Return the beginning of a file's id as an integer: ids in their order, in few bytes.

    Two files may have one key. What is found by it is compared with the whole id.

    Example:
        >>> content_key(bytes(32)) < content_key(bytes([1] * 32))
        True
    """
    return int.from_bytes(content[:8]) - 2**63


Cell = tuple[str, float | None, str]
"""A value in the columns kind, number and text."""


def to_cell(value: Value) -> Cell:
    """Return a value as it is stored in a row.

    Example:
        >>> to_cell(0.5), to_cell(True), to_cell((1, 2))
        (('float', 0.5, '0.5'), ('bool', None, 'true'), ('list', None, '[1, 2]'))
    """
    if value is None:
        return "null", None, "null"
    if isinstance(value, bool):
        return "bool", None, "true" if value else "false"
    if isinstance(value, int):
        try:
            return "int", float(value), str(value)
        except (OverflowError, ValueError):
            return "text", None, hex(value)
    if isinstance(value, float):
        return "float", value if math.isfinite(value) else None, repr(value)
    if isinstance(value, str):
        return "text", None, value
    return "list", None, json.dumps(value, ensure_ascii=False)


def from_cell(kind: str, text: str) -> Value:
    """Return the value stored in a row.

    Example:
        >>> from_cell(*to_cell(float("inf"))[::2])
        inf
    """
    if kind == "text":
        return text
    if kind == "float":
        return float(text)
    if kind == "list":
        loaded: list[Plain] = json.loads(text)
        return tuple(loaded)
    value: Plain = json.loads(text)
    return value
