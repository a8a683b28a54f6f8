"""The bytes of a store, without any input or output: what docs/format.md specifies.

- **object**: a blob (the bytes of a file), a tree, an asset or a recipe, named by its id.
- **object id**: the BLAKE3-256 of an object's bytes.
- **tree**: one directory: sorted entries of name, kind, id and size.
- **asset**: a tree with its class, parents, refs, author, time, message and metadata. Immutable.
- **ref**: a link from an asset to one that it was made from, with a label.
- **chunk**: a blob that is a part of a large object; the content decides where it ends.
- **recipe**: the list of chunks of a large object, under the object's id.
- **record**: an object in a pack, with a header that describes it.
- **pack**: one immutable file of many records, and a trailer that lists them.
- **index**: one immutable file that says where in which pack each object is. A worktree has
  another kind of index, as git has: see `ama.worktree`.
- **entry**: one numbered file of the log; its events publish assets and move aliases.
- **needs**: the indexes that suffice to read an asset that an entry publishes.
- **state**: the sum of the entries: assets, aliases, status, current indexes.
- **table**: rows of a state, cut into segments; a key leads to its rows by a few pages.
- **checkpoint**: a state in tables.
- **current index**: one that a publication added and no gc event replaced.
- **condemned**: named by a gc event; a collector may delete it later.
- **canonical**: the only MessagePack form of a value; decoding refuses any other.
"""
