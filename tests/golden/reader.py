"""A reader of ama's stores, written from docs/format.md alone: it imports nothing of ama.

    python reader.py STORE [DIRECTORY [SOURCES]]

prints what the store in a directory holds, as JSON, and writes each asset below DIRECTORY, unless
that is -. What references lead to is read from SOURCES: `s3://bucket/runs/a.zip` is there
`bucket/runs/a.zip`. It is
there to show that the specification is enough, so it is plain rather than fast: it folds the whole
log, then checks that the checkpoints say the same.
"""

import json
import os
import re
import struct
import sys
import zlib
from pathlib import Path

import msgpack
import zstandard
from blake3 import blake3

TREE = "ama 2026-11-23 tree object version 1"
ASSET = "ama 2026-11-23 asset object version 1"
SEAL = "ama 2026-11-23 seal version 1"

DATA_KIND, TREE_KIND, ASSET_KIND, RECIPE_KIND, REFERENCE_KIND = 1, 2, 3, 4, 5
LARGEST = {1: 2**20, 2: 2**28, 3: 2**20, 4: 2**28, 5: 2**20}
SCHEMES = "file s3 gs gcs az abfs abfss sftp ssh http https".split()
FILE, EXECUTABLE, SYMLINK, DIRECTORY = 0, 1, 2, 3
FEATURES = {"byte-planes", "references"}
STATUSES = ("active", "deprecated", "deleted")
PROBES = (1, 2, 4, 8, 16, 32, 64)


class Damaged(Exception):
    """Something is not what the specification says."""


class Newer(Exception):
    """Something is of a later version."""


def require(holds, why):
    if not holds:
        raise Damaged(why)


# Section 2: hashes


def plain_hash(data):
    return blake3(data).digest()


def seal(data):
    return blake3(data, derive_key_context=SEAL).digest()


# Section 3: canonical MessagePack


def unpack(data):
    try:
        value = msgpack.unpackb(
            data, raw=False, use_list=True, strict_map_key=True, object_pairs_hook=pairs
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise Damaged(f"not MessagePack: {error}") from error
    out = bytearray()
    pack(value, out, 32)
    require(bytes(out) == bytes(data), "not canonical")
    return value


def pairs(items):
    require(len({key for key, _ in items}) == len(items), "a key is there twice")
    return dict(items)


def pack(value, out, depth):
    """Append the canonical form, written from section 3 without the help of a library."""
    if value is None or value is True or value is False:
        out += {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    elif type(value) is int:
        pack_int(value, out)
    elif type(value) is float:
        out += b"\xcb" + (struct.pack(">d", value) if value == value else b"\x7f\xf8" + bytes(6))
    elif type(value) is str:
        data = value.encode()
        pack_length(len(data), out, 0xA0, 32, (0xD9, 0xDA, 0xDB))
        out += data
    elif type(value) is bytes:
        pack_length(len(value), out, 0, 0, (0xC4, 0xC5, 0xC6))
        out += value
    elif type(value) is list:
        require(depth > 0, "nested too deeply")
        pack_length(len(value), out, 0x90, 16, (None, 0xDC, 0xDD))
        for item in value:
            pack(item, out, depth - 1)
    elif type(value) is dict:
        require(depth > 0, "nested too deeply")
        pack_length(len(value), out, 0x80, 16, (None, 0xDE, 0xDF))
        require(all(type(key) is str for key in value), "a key is no text")
        for key in sorted(value, key=str.encode):
            pack(key, out, 0)
            pack(value[key], out, depth - 1)
    else:
        raise Damaged(f"a {type(value).__name__} has no canonical form")


def pack_int(value, out):
    if -32 <= value < 128:
        out += struct.pack("b", value)
        return
    for code, form, low, high in (
        *((0xCC + i, ">" + "BHIQ"[i], 0, 2 ** (8 << i)) for i in range(4)),
        *((0xD0 + i, ">" + "bhiq"[i], -(2 ** ((8 << i) - 1)), 0) for i in range(4)),
    ):
        if low <= value < high:
            out += bytes([code]) + struct.pack(form, value)
            return
    raise Damaged("an integer of more than 64 bits")


def pack_length(length, out, short, limit, codes):
    if length < limit:
        out.append(short + length)
        return
    for code, form, high in zip(codes, (">B", ">H", ">I"), (2**8, 2**16, 2**32), strict=True):
        if code is not None and length < high:
            out += bytes([code]) + struct.pack(form, length)
            return
    raise Damaged("too long")


# Section 4: names


def check_label(name, alias=False):
    ok = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name)
    ok = ok and name != "HEAD" and not re.fullmatch(r"[0-9a-fA-F]{7,}", name)
    require(ok and not (alias and name.isdigit()), f"{name!r} is no name of a class or alias")


def check_name(name):
    seen = re.sub("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]", "", name)
    lower = re.sub("[A-Z]", lambda found: found.group().lower(), seen)
    hostile = (
        name in ("", ".", "..")
        or any(character in name for character in "/\\\0")
        or re.match("[A-Za-z]:", name)
        or re.fullmatch(r"(\.ama|ama~[0-9])[. ]*(:.*)?", lower, re.DOTALL)
        or len(name.encode()) > 255
    )
    require(not hostile, f"{name!r} is hostile")


def check_link(path, target):
    depth = path.count("/")
    require(target and not target.startswith("/") and "\\" not in target, "a symlink leads out")
    for part in target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        require(depth >= 0, "a symlink leads out")


def is_id(value):
    return type(value) is bytes and len(value) == 32


def check_text(value, most=2**16):
    require(type(value) is str and len(value.encode()) <= most, "no text, or too long")


# Section 5: objects


def fields(data, count):
    value = unpack(data)
    require(type(value) is list and value and type(value[0]) is int, "no version")
    if value[0] > 1:
        raise Newer(f"version {value[0]}")
    require(value[0] == 1 and len(value) == count + 1, "other fields")
    return value[1:]


def read_tree(data):
    (rows,) = fields(data, 1)
    names = []
    for name, kind, blob, size in rows:
        check_name(name)
        names.append(name.encode())
        require(type(kind) is int and 0 <= kind <= 3, "unknown kind")
        require(is_id(blob) and type(size) is int and 0 <= size < 2**63, "an id or size")
        require(kind != SYMLINK or 1 <= size <= 4096, "a symlink's size")
    require(names == sorted(set(names)), "names out of order")
    return rows


def read_asset(data):
    keys = "class tree parents refs author created_at message metadata extra".split()
    asset = dict(zip(keys, fields(data, 9), strict=True))
    check_label(asset["class"])
    require(is_id(asset["tree"]) and all(map(is_id, asset["parents"])), "an id")
    for ref, class_name, label in asset["refs"]:
        require(is_id(ref), "an id")
        check_label(class_name)
        check_text(label)
    check_text(asset["author"])
    check_text(asset["message"])
    require(type(asset["created_at"]) is int and 0 <= asset["created_at"] < 2**63, "a time")
    for key, value in asset["metadata"].items():
        check_text(key, 200)
        require(key and type(value) in (str, int, float, bool), "metadata")
    require(type(asset["extra"]) is dict, "extra")
    for several in (asset["parents"], [tuple(ref) for ref in asset["refs"]]):
        require(len(set(several)) == len(several), "something is there twice")
    return asset


def read_recipe(data):
    require(seal(data[:-32]) == data[-32:], "a recipe's seal")
    profile, kind, ids, sizes = fields(data[:-32], 4)
    if profile != 1:
        raise Newer(f"profile {profile}")
    require(kind in (DATA_KIND, TREE_KIND), "what a recipe makes")
    require(len(sizes) >= 2 and len(ids) == 32 * len(sizes), "a recipe's chunks")
    require(all(1 <= size <= 2**20 for size in sizes), "a chunk's size")
    return kind, [(ids[32 * at : 32 * at + 32], size) for at, size in enumerate(sizes)]


def id_of(kind, data):
    context = {DATA_KIND: None, TREE_KIND: TREE, ASSET_KIND: ASSET}[kind]
    return blake3(data, derive_key_context=context).digest()


# Section 7: indexes


def read_index(data, index_id):
    require(plain_hash(data) == index_id, "an index of another id")
    magic, version, packs, rows, zero = struct.unpack_from("<8sIIQQ", data)
    require(magic == b"ama-indx" and zero == 0, "no index")
    if version > 1:
        raise Newer(f"index version {version}")
    start = 32 + 2048 + 40 * packs
    require(len(data) == start + 64 * rows + 32 and rows > 0, "an index's length")
    require(plain_hash(data[:-32]) == data[-32:], "an index's checksum")
    fanout = struct.unpack_from("<256Q", data, 32)
    table = [struct.unpack_from("<32sQ", data, 32 + 2048 + 40 * at) for at in range(packs)]
    require([pack for pack, _ in table] == sorted({pack for pack, _ in table}), "packs in order")
    found, counts, before = {}, [0] * 256, ()
    for at in range(rows):
        row = struct.unpack_from("<32sIB3sQQQ", data, start + 64 * at)
        object_id, pack, kind, padding, offset, stored, full = row
        require(pack < packs and padding == bytes(3) and stored <= full, "a row")
        if kind not in LARGEST:
            raise Newer(f"kind {kind}")
        pack_id, size = table[pack]
        require(offset >= 32 and offset + 64 + stored + 64 <= size, "a place outside its pack")
        require(before < (object_id, kind, pack_id, offset), "rows in order")
        before = (object_id, kind, pack_id, offset)
        counts[object_id[0]] += 1
        found.setdefault(object_id, []).append((kind, pack_id, offset, stored, full))
    require(list(fanout) == [sum(counts[: at + 1]) for at in range(256)], "the fan-out")
    return found


# Section 9: the log

EVENTS = {
    "publish": {"asset", "class", "aliases", "indexes", "needs", "refs"},
    "alias": {"class", "alias", "asset", "expected"},
    "status": {"asset", "class", "status", "reason"},
    "gc": {"replaced", "packs", "indexes"},
    "purged": {"packs", "indexes"},
    "feature": {"read", "write"},
    "note": {"class", "asset", "metadata", "tags", "untags", "message", "file", "needs"},
}
NOTES = "notes"


def read_entry(data, number, previous):
    require(data.startswith(b"ama-log\n") and seal(data[:-32]) == data[-32:], "an entry's seal")
    require(len(data) <= 2**22 + 32, "an entry's size")
    found, nonce, before, author, at, events = fields(data[8:-32], 6)
    require(found == number, "an entry under another name")
    require(before == previous, "an entry that doesn't follow the one before")
    require(type(nonce) is bytes and len(nonce) == 16 and type(author) is str, "an entry's fields")
    require(type(at) is int and 0 <= at < 2**63, "a time")
    known = []
    for place, (name, critical, body) in enumerate(events):
        require(type(name) is str and type(critical) is bool and type(body) is dict, "an event")
        if name not in EVENTS:
            if critical:
                raise Newer(f"a critical event {name}")
            continue
        same = set(body) == EVENTS[name] and critical == (name != "note")
        require(same, f"a {name} event of other fields")
        check_event(name, body)
        known.append((name, body, place))
    return {"number": number, "author": author, "at": at, "events": known}


def check_event(name, body):
    if "class" in body:
        check_label(body["class"])
    for ids in [body[key] for key in ("indexes", "needs", "packs") if key in body]:
        require(type(ids) is list and all(map(is_id, ids)), "ids")
    if name == "publish":
        require(is_id(body["asset"]) and len(body["needs"]) <= 16, "a publish event")
        for alias, expected in body["aliases"]:
            check_label(alias, alias=True)
            require(expected is None or expected == b"" or is_id(expected), "what is expected")
        require(all(is_id(ref) and type(held) is bool for ref, held in body["refs"]), "refs")
    elif name == "alias":
        check_label(body["alias"], alias=True)
        require(body["asset"] is None or is_id(body["asset"]), "an alias event")
    elif name == "status":
        require(is_id(body["asset"]) and body["status"] in STATUSES, "a status event")
    elif name == "gc":
        gone = {*body["indexes"], *(index for old, _ in body["replaced"] for index in old)}
        require(gone.isdisjoint(i for _, new in body["replaced"] for i in new), "a gc event")
    elif name == "feature":
        require(all(type(text) is str for text in (*body["read"], *body["write"])), "a feature")
    elif name == "note":
        check_note(body)


def check_note(body):
    require(body["asset"] is None or is_id(body["asset"]), "a note's asset")
    require(type(body["metadata"]) is dict, "a note's metadata")
    for key, value in body["metadata"].items():
        check_text(key, 200)
        require(key and type(value) in (str, int, float, bool, type(None)), "a note's metadata")
    for tags in (body["tags"], body["untags"]):
        require(type(tags) is list, "tags")
        for tag in tags:
            check_text(tag, 200)
        require(tags == sorted(set(tags), key=str.encode) and "" not in tags, "tags in order")
    require(not {*body["tags"]} & {*body["untags"]}, "a tag that comes and goes")
    check_text(body["message"])
    require(len(body["needs"]) <= 16, "what a note needs")
    require(bool(body["needs"]) == (body["file"] is not None), "what a note needs")
    if body["file"] is not None:
        name, blob, size = body["file"]
        check_name(name)
        require(is_id(blob) and type(size) is int and 0 <= size < 2**63, "a note's file")
    require(len(packed(body)) <= 2**20, "a note's size")


# Section 10: folding


class Fold:
    """The root and the classes, after some entries."""

    def __init__(self, genesis, features):
        self.number, self.entry_hash = 0, genesis
        self.indexes, self.replaced = [], {}
        self.condemned_packs, self.condemned_indexes = set(), set()
        self.read_features, self.write_features = set(features["read"]), set(features["write"])
        self.classes = {}
        self.notes = {}

    def add(self, entry, entry_hash):
        for name, body, place in entry["events"]:
            entry["place"] = place
            getattr(self, f"on_{name}")(body, entry)
            for index in self.indexes:
                self.replaced.pop(index, None)
        self.number, self.entry_hash = entry["number"], entry_hash

    def of_class(self, name):
        return self.classes.setdefault(name, {"assets": [], "aliases": {}})

    def move(self, name, alias, asset, entry):
        moves = self.of_class(name)["aliases"].setdefault(alias, [])
        moves.append([asset, entry["author"], entry["at"], entry["number"]])

    def make_current(self, indexes):
        for index in indexes:
            if index not in self.indexes:
                self.indexes.append(index)

    def on_publish(self, body, entry):
        self.make_current(body["indexes"])
        assets = self.of_class(body["class"])["assets"]
        if all(row[0] != body["asset"] for row in assets):
            assets.append([body["asset"], entry["number"], 0, ""])
        for alias, _ in body["aliases"]:
            self.move(body["class"], alias, body["asset"], entry)

    def on_alias(self, body, entry):
        self.move(body["class"], body["alias"], body["asset"], entry)

    def on_status(self, body, entry):
        for row in self.of_class(body["class"])["assets"]:
            if row[0] == body["asset"]:
                row[2:] = [STATUSES.index(body["status"]), body["reason"]]

    def on_gc(self, body, entry):
        gone = {*body["indexes"], *(index for old, _ in body["replaced"] for index in old)}
        self.indexes = [index for index in self.indexes if index not in gone]
        for old, new in body["replaced"]:
            self.make_current(new)
            self.replaced.update(dict.fromkeys(old, new))
        self.condemned_packs |= set(body["packs"])
        self.condemned_indexes |= gone

    def on_purged(self, body, entry):
        self.condemned_packs -= set(body["packs"])
        self.condemned_indexes -= set(body["indexes"])

    def on_feature(self, body, entry):
        self.read_features |= set(body["read"])
        self.write_features |= set(body["write"])

    def on_note(self, body, entry):
        if NOTES in self.write_features:
            said = [entry["author"], entry["at"], body]
            row = [body["asset"], entry["number"], entry["place"], said]
            self.notes.setdefault(body["class"], []).append(row)

    def standing_for(self, indexes):
        found, waiting, seen = [], list(indexes), set()
        while waiting:
            index = waiting.pop(0)
            if index in seen:
                continue
            seen.add(index)
            if index in self.replaced:
                waiting += self.replaced[index]
            else:
                found.append(index)
        return found

    # Section 12

    def state(self, name):
        out = bytearray()
        state = self.classes[name]
        pack([1, name, state["assets"], state["aliases"]], out, 32)
        return bytes(out)

    def root(self):
        out = bytearray()
        rows = [
            1,
            self.number,
            self.entry_hash,
            self.indexes,
            [[old, new] for old, new in sorted(self.replaced.items())],
            sorted(self.condemned_packs),
            sorted(self.condemned_indexes),
            sorted(self.read_features, key=str.encode),
            sorted(self.write_features, key=str.encode),
            {name: seal(self.state(name)) for name in self.classes},
        ]
        pack(rows, out, 32)
        body = b"ama-root" + bytes(out)
        return body + seal(body)


class Tables:
    """The rows of section 12 after some entries, and the files made of them."""

    STORE = ("indexes", "replaced", "condemned_packs", "condemned_indexes")

    def __init__(self, genesis, features):
        self.number, self.entry_hash = 0, genesis
        self.features = {verb: {*features[verb]} for verb in ("read", "write")}
        self.store = {name: [] for name in self.STORE}
        self.classes = {}

    def add(self, entry, entry_hash):
        for name, body, place in entry["events"]:
            entry["place"] = place
            getattr(self, f"on_{name}")(body, entry)
        self.number, self.entry_hash = entry["number"], entry_hash

    def begin(self, name, each, value):
        rows = self.store[name]
        if not any(row[0] == each and row[1] is not None for row in rows):
            rows.append([each, value])

    def end(self, name, each):
        for row in self.store[name]:
            if row[0] == each:
                row[1] = None

    def make_current(self, indexes):
        for index in indexes:
            self.begin("indexes", index, True)
            self.end("replaced", index)

    def of_class(self, name):
        new = {"live": 0, "dangling": False, "assets": [], "moves": []}
        return self.classes.setdefault(name, new)

    def number_of(self, state, asset):
        return next((n for n, row in enumerate(state["assets"], 1) if row[0] == asset), 0)

    def point(self, state, row):
        """Say again which aliases point to an asset, and which did."""
        last = {move[0]: move[1] for move in state["moves"]}
        ever = sorted({move[0] for move in state["moves"] if move[1] == row[0]})
        row[5] = [alias for alias in ever if last[alias] == row[0]]
        row[6] = [alias for alias in ever if last[alias] != row[0]]

    def move(self, state, alias, asset, entry):
        number = self.number_of(state, asset)
        before = max((n for n, row in enumerate(state["moves"], 1) if row[0] == alias), default=0)
        numbers = [row[2] for row in state["moves"] if row[0] == alias and row[2]]
        lowest = min([*numbers, *([number] if number else [])], default=0)
        said = [entry["author"], entry["at"], entry["number"]]
        state["dangling"] |= asset is not None and not number
        state["moves"].append([alias, asset, number, *said, before, lowest])
        for row in state["assets"]:
            self.point(state, row)

    def on_publish(self, body, entry):
        self.make_current(body["indexes"])
        state = self.of_class(body["class"])
        if not self.number_of(state, body["asset"]):
            needs = b"".join(body["needs"])
            state["assets"].append([body["asset"], entry["number"], 0, "", needs, [], []])
            self.point(state, state["assets"][-1])
            state["live"] += 1
        for alias, _ in body["aliases"]:
            self.move(state, alias, body["asset"], entry)

    def on_alias(self, body, entry):
        self.move(self.of_class(body["class"]), body["alias"], body["asset"], entry)

    def on_status(self, body, entry):
        state = self.of_class(body["class"])
        for row in state["assets"]:
            if row[0] == body["asset"]:
                row[2:4] = [STATUSES.index(body["status"]), body["reason"]]
        state["live"] = sum(row[2] != 2 for row in state["assets"])

    def on_gc(self, body, entry):
        for index in [*(index for old, _ in body["replaced"] for index in old), *body["indexes"]]:
            self.end("indexes", index)
            self.begin("condemned_indexes", index, True)
        for old, new in body["replaced"]:
            for index in old:
                self.end("replaced", index)
                self.begin("replaced", index, new)
        for _, new in body["replaced"]:
            self.make_current(new)
        for pack_id in body["packs"]:
            self.begin("condemned_packs", pack_id, True)

    def on_purged(self, body, entry):
        for pack_id in body["packs"]:
            self.end("condemned_packs", pack_id)
        for index in body["indexes"]:
            self.end("condemned_indexes", index)

    def on_feature(self, body, entry):
        for verb in ("read", "write"):
            self.features[verb] |= {*body[verb]}

    def on_note(self, body, entry):
        pass  # in a file of their own

    def files(self):
        """The checkpoint and its segments, by name."""
        files = {}
        fields = [1, self.number, self.entry_hash]
        fields += [sorted(self.features[verb], key=str.encode) for verb in ("read", "write")]
        fields += [
            write_table(self.store[name], lambda row: row[0][:5], files) for name in self.STORE
        ]
        classes = {}
        for name, state in self.classes.items():
            assets = write_table(state["assets"], lambda row: row[0][:5], files)
            moves = write_table(state["moves"], alias_key, files, lambda row: row[:3])
            classes[name] = [state["live"], state["dangling"], assets, moves]
        data = b"ama-fold" + packed([*fields, classes])
        return {**files, f"checkpoint/fold/{self.number:012d}": data + seal(data)}


def note_files(fold):
    """The notes of a checkpoint and their segments, by name."""
    files, classes = {}, {}
    for name, rows in fold.notes.items():
        short = [[*row[:3], row[3] if len(packed(row[3])) <= 4096 else None] for row in rows]
        classes[name] = write_table(short, lambda row: (row[0] or bytes(5))[:5], files)
    data = b"ama-note" + packed([1, fold.number, fold.entry_hash, classes])
    return {**files, f"checkpoint/notes/{fold.number:012d}": data + seal(data)}


def packed(value):
    out = bytearray()
    pack(value, out, 32)
    return bytes(out)


def alias_key(row):
    return plain_hash(row[0].lower().encode())[:5]


def cuts(count):
    """Where the segments of a table begin and end."""
    at = 0
    for size in (512, 64, 16):
        while count - at >= size:
            yield at, at + size
            at += size
    if at < count:
        yield at, count


def run_cuts(blocks):
    """Where the runs of so many blocks begin, and how many blocks each has, as a power of 4."""
    at, power = 0, 0
    while 4 ** (power + 1) <= blocks:
        power += 1
    while at < blocks:
        if blocks - at >= 4**power:
            yield at, power
            at += 4**power
        else:
            power -= 1


def write_table(rows, key, files, value=None):
    """A table's fields in a checkpoint; its segments and pages are added to `files`."""

    def write(content):
        data = packed(content)
        files[f"checkpoint/segment/{seal(data).hex()}"] = data
        return seal(data)

    segments = [write(rows[start:end]) for start, end in cuts(len(rows))]
    pages = []
    for block, power in run_cuts(len(rows) // 512):
        places = range(512 * block, 512 * (block + 4**power))
        if value is not None:  # of an alias only the last move
            places = sorted({rows[place][0]: place for place in places}.values())
        keys = [[key(rows[at]), at, value(rows[at]) if value else None] for at in places]
        bits = 2 * power - 1 if power else 0
        for page in range(2**bits):
            inside = [row for row in keys if int.from_bytes(row[0], "big") >> (40 - bits) == page]
            pages.append(write(sorted(inside, key=lambda row: row[:2])))
    return [len(rows), b"".join(segments), b"".join(pages)]


def read_checkpoint(data, number, segment):
    """The tables of a checkpoint; `segment` returns the bytes of a segment by its digest."""
    require(data.startswith(b"ama-fold") and seal(data[:-32]) == data[-32:], "a checkpoint's seal")
    found, entry_hash, read, write, *of_store, classes = fields(data[8:-32], 9)
    require(found == number, "a checkpoint under another name")
    tables = Tables(entry_hash, {"read": read, "write": write})
    tables.number = number

    def rows(table):
        return read_rows(table, segment)

    tables.store = {name: rows(table) for name, table in zip(Tables.STORE, of_store, strict=True)}
    for name, (live, dangling, assets, moves) in classes.items():
        check_label(name)
        tables.classes[name] = {
            "live": live,
            "dangling": dangling,
            "assets": rows(assets),
            "moves": rows(moves),
        }
    return tables


def read_rows(table, segment):
    count, segments, _ = table
    parts = []
    for digest in [segments[at : at + 32] for at in range(0, len(segments), 32)]:
        data = segment(digest)
        require(data is not None and seal(data) == digest, "a segment of another digest")
        parts.append(unpack(data))
    found = [row for part in parts for row in part]
    require(len(found) == count, "a table that lacks rows")
    return found


def read_notes(data, number, segment):
    """The rows of the notes of a checkpoint, by class; and the hash of its entry."""
    require(data.startswith(b"ama-note") and seal(data[:-32]) == data[-32:], "the seal of notes")
    found, entry_hash, classes = fields(data[8:-32], 3)
    require(found == number, "notes under another name")
    return entry_hash, {name: read_rows(table, segment) for name, table in classes.items()}


def read_root(data, number):
    require(data.startswith(b"ama-root") and seal(data[:-32]) == data[-32:], "a root's seal")
    found, entry_hash, indexes, replaced, packs, gone, read, write, classes = fields(data[8:-32], 9)
    require(found == number and is_id(entry_hash), "a root under another name")
    fold = Fold(entry_hash, {"read": read, "write": write})
    fold.number, fold.indexes, fold.classes = number, indexes, classes
    fold.replaced = dict(replaced)
    fold.condemned_packs, fold.condemned_indexes = set(packs), set(gone)
    return fold


def read_state(data, name, digest):
    require(seal(data) == digest, "a class's state of another digest")
    found, assets, aliases = fields(data, 3)
    require(found == name, "the state of another class")
    return {"assets": assets, "aliases": aliases}


def require_known(features):
    unknown = set(features) - FEATURES
    if unknown:
        raise Newer(f"a store with {', '.join(sorted(unknown))}")


def expand(frame, size):
    require(zstandard.frame_content_size(frame) == size, "a frame of another size")
    try:
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damaged(str(error)) from error


def join_planes(stored, full):
    """The numbers whose bytes lie in planes: all first bytes, all second bytes, and so on."""
    require(stored and stored[0] in (2, 4, 8), "a stride")
    stride, at = stored[0], 1 + 4 * stored[0]
    require(len(stored) >= at, "the sizes of planes")
    planes = []
    for first, kept in enumerate(struct.unpack(f"<{stride}I", stored[1:at])):
        plane, size = stored[at : at + kept], (full - first + stride - 1) // stride
        require(len(plane) == kept <= size, "a plane's size")
        planes.append(plane if kept == size else expand(plane, size))
        at += kept
    require(at == len(stored), "something behind the planes")
    return bytes(planes[at % stride][at // stride] for at in range(full))


def read_reference(data, full):
    """The fields of a reference: URL, mark, size, offset, length, method, start."""
    require(len(data) <= 4096, "a reference's size")
    require(seal(data[:-8])[:8] == data[-8:], "a reference's checksum")
    url, mark, *numbers = fields(data[:-8], 7)
    size, offset, length, method, start = numbers
    require(all(type(number) is int and 0 <= number < 2**63 for number in numbers), "a number")
    require(type(url) is str and type(mark) is str and len(mark.encode()) <= 512, "a text")
    found = re.fullmatch(r"([a-z][a-z0-9+.-]*)://([^/]*)/(.+)", url, re.DOTALL)
    require(found and found[1] in SCHEMES, "a URL")
    require(not re.search("[\x00-\x1f\x7f-\x9f]", url), "a URL")
    if found[1] == "file":
        plain = r"(?:[A-Za-z0-9_.!~*'()/:@&=+$,;-]|%[0-9A-F]{2})*"
        require(not found[2] and re.fullmatch(plain, found[3]) and "%00" not in url, "a path")
    else:
        login = re.match(r"[^@]*:[^@]*@", found[2]) or (found[1][:4] == "http" and "@" in found[2])
        require(found[2] and not login and "?" not in url and "#" not in url, "a URL")
    require(length > 0 and offset + length <= size, "bytes beyond the source")
    if method > 1:
        raise Newer(f"method {method}")
    if method == 0:
        require(length == full and start == 0, "another number of bytes")
    else:
        require(start + full <= 1032 * length, "more than deflated bytes make")
    return url, offset, length, method, start


class Store:
    """A store in a directory, read whole; and a directory with what its references lead to."""

    def __init__(self, root, sources=None):
        self.root = Path(root)
        self.sources = sources and Path(sources)
        data = self.read("format.json")
        require(data is not None, "no format.json")
        self.format = json.loads(data)
        require(self.format["magic"] == "ama store", "no store")
        require(re.fullmatch("[0-9a-f]{32}", self.format["id"]), "the store's id")
        if self.format["version"] > 1:
            raise Newer("a store of a later version")
        require_known(self.format["features"]["read"])
        self.fold = Fold(plain_hash(data), self.format["features"])
        self.tables = Tables(plain_hash(data), self.format["features"])
        self.entries = {}
        self.checkpoints = []
        self.follow_log()
        require_known(self.fold.read_features)
        self.opened = {}
        self.cached = {}

    def read(self, name):
        try:
            return self.root.joinpath(*name.split("/")).read_bytes()
        except FileNotFoundError:
            return None

    # Sections 11 and 13

    def follow_log(self):
        reached, reached_hash = self.hint()
        while (data := self.entry_bytes(self.fold.number + 1)) is not None:
            number = self.fold.number + 1
            self.entries[number] = read_entry(data, number, self.fold.entry_hash)
            self.fold.add(self.entries[number], plain_hash(data))
            self.tables.add(self.entries[number], plain_hash(data))
            if number == reached:
                require(self.fold.entry_hash == reached_hash, "the log was rewritten")
            if number % 64 == 0:
                self.compare_checkpoint()
        end = self.fold.number
        for number in self.checkpoints:
            self.compare_from_checkpoint(number)
            self.compare_notes_from(number)
            self.compare_from_root(number)
        later = [end + 1 + probe for probe in PROBES]
        require(all(self.entry_bytes(number) is None for number in later), "the log has a hole")
        require(reached <= end, "an entry was lost")

    def entry_bytes(self, number):
        return self.read(f"log/{number:012d}")

    def hint(self):
        form = rb"(([1-9][0-9]*) ([0-9a-f]{64})\n)([0-9a-f]{64})\n"
        found = re.fullmatch(form, self.read("log/HINT") or b"")
        if not found or seal(found[1]).hex().encode() != found[4]:
            return 0, b""
        return int(found[2]), bytes.fromhex(found[3].decode())

    def compare_checkpoint(self):
        number = self.fold.number
        files = self.tables.files()
        there = self.read(f"checkpoint/fold/{number:012d}") is not None
        if there:
            for name, data in files.items():
                require(self.read(name) == data, name)
        if self.read(f"checkpoint/notes/{number:012d}") is not None:
            for name, data in note_files(self.fold).items():
                require(self.read(name) == data, name)
        root = self.read(f"checkpoint/{number:012d}")
        if root is not None:
            require(root == self.fold.root(), f"checkpoint {number} of the first form")
            for name in self.fold.classes:
                state = self.fold.state(name)
                found = self.read(f"checkpoint/state/{seal(state).hex()}")
                require(found == state, "a class's state")
        if there or root is not None:
            self.checkpoints.append(number)

    def compare_from_checkpoint(self, number):
        """Fold from a checkpoint on, as a reader in a hurry does: it must come to the same."""
        data = self.read(f"checkpoint/fold/{number:012d}")
        if data is None:
            return
        tables = read_checkpoint(
            data, number, lambda digest: self.read(f"checkpoint/segment/{digest.hex()}")
        )
        require(tables.entry_hash == plain_hash(self.entry_bytes(number)), "one that doesn't fit")
        for later in range(number + 1, self.fold.number + 1):
            tables.add(self.entries[later], plain_hash(self.entry_bytes(later)))
        require(tables.files() == self.tables.files(), "the checkpoint leads elsewhere")

    def compare_notes_from(self, number):
        """Do the same with notes; those too long for a row are in their entries."""
        data = self.read(f"checkpoint/notes/{number:012d}")
        if data is None:
            return
        entry_hash, rows = read_notes(
            data, number, lambda digest: self.read(f"checkpoint/segment/{digest.hex()}")
        )
        require(entry_hash == plain_hash(self.entry_bytes(number)), "notes that don't fit")
        for table in rows.values():
            for row in table:
                if row[3] is None:
                    entry = self.entries[row[1]]
                    (body,) = [body for _, body, place in entry["events"] if place == row[2]]
                    row[3] = [entry["author"], entry["at"], body]
        fold = Fold(entry_hash, {"read": [], "write": [NOTES]})
        fold.notes = rows
        for later in range(number + 1, self.fold.number + 1):
            fold.add(self.entries[later], plain_hash(self.entry_bytes(later)))
        require(fold.notes == self.fold.notes, "the notes lead elsewhere")

    def compare_from_root(self, number):
        """Do the same from one of the first form."""
        if self.read(f"checkpoint/{number:012d}") is None:
            return
        fold = read_root(self.read(f"checkpoint/{number:012d}"), number)
        require(fold.entry_hash == plain_hash(self.entry_bytes(number)), "a root that doesn't fit")
        for name, digest in fold.classes.items():
            fold.classes[name] = read_state(
                self.read(f"checkpoint/state/{digest.hex()}"), name, digest
            )
        for later in range(number + 1, self.fold.number + 1):
            fold.add(self.entries[later], plain_hash(self.entry_bytes(later)))
        require(fold.root() == self.fold.root(), "the checkpoint leads elsewhere")
        require(fold.classes == self.fold.classes, "the checkpoint leads elsewhere")

    # Section 14

    def indexes_of(self, class_name, row):
        (event,) = [
            body
            for name, body, _ in self.entries[row[1]]["events"]
            if name == "publish" and body["asset"] == row[0]
        ]
        require(event["class"] == class_name, "an asset published in another class")
        return [self.index(index) for index in self.fold.standing_for(event["needs"])]

    def index(self, index):
        if index not in self.opened:
            data = self.read(f"index/{index.hex()}.idx")
            require(data is not None, f"index {index.hex()} is gone")
            self.opened[index] = read_index(data, index)
        return self.opened[index]

    def object(self, indexes, object_id, kind, kinds=(RECIPE_KIND,)):
        """The bytes of an object of a kind; `kinds` are those that its record may have beside."""
        places = [place for index in indexes for place in index.get(object_id, [])]
        kinds = (*kinds, REFERENCE_KIND) if kind == DATA_KIND else kinds
        places = [place for place in places if place[0] in (kind, *kinds)]
        require(places, f"no index has object {object_id.hex()}")
        problem = None
        for place in sorted(places, key=lambda place: max(place[0], ASSET_KIND)):
            try:
                data = self.record(object_id, place)
                if place[0] == RECIPE_KIND:
                    made, chunks = read_recipe(data)
                    require(made == kind, "a recipe of another kind")
                    parts = [self.chunk(indexes, chunk, size) for chunk, size in chunks]
                    data = b"".join(parts)
                require(id_of(kind, data) == object_id, "another id")
                return data
            except Damaged as error:
                problem = error
        raise problem

    def chunk(self, indexes, chunk, size):
        data = self.object(indexes, chunk, DATA_KIND, ())
        require(len(data) == size, "a chunk of another size")
        return data

    # Section 6

    def record(self, object_id, place):
        kind, pack_id, offset, stored, full = place
        require(full <= LARGEST[kind], "too large")
        name = f"packs/{pack_id.hex()[:2]}/{pack_id.hex()}.pack"
        if pack_id not in self.cached:
            self.cached[pack_id] = self.read(name)
        data = self.cached[pack_id]
        require(data is not None, f"{name} is gone")
        raw = data[offset : offset + 64 + stored]
        require(len(raw) == 64 + stored, "a pack that ends in a record")
        header = struct.unpack_from("<4sBBHQQ32s", raw)
        require(plain_hash(raw[:56])[:8] == raw[56:64], "the checksum of a record's header")
        marker, its_kind, codec, flags, its_stored, its_full, its_id = header
        expected = (b"arec", kind, stored, full, object_id)
        require((marker, its_kind, its_stored, its_full, its_id) == expected, "another record")
        if flags or codec not in (0, 1, 3, 4):
            raise Newer("a record's flags or codec")
        require((codec == 4) == (kind == REFERENCE_KIND), "the codec of another kind")
        content = raw[64:]
        if codec == 1:
            content = expand(content, full)
        elif codec == 3:
            content = join_planes(content, full)
        elif codec == 4:
            content = self.elsewhere(*read_reference(content, full), full)
        require(len(content) == full, "a record of another size")
        return content

    def elsewhere(self, url, offset, length, method, start, full):
        """What a reference leads to."""
        require(self.sources is not None, "nobody says where sources are")
        path = self.sources.joinpath(*url.partition("://")[2].split("/"))
        require(path.is_file(), f"{url} is gone")
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if method == 1:
            try:
                data = zlib.decompressobj(-15).decompress(data, start + full)[start:]
            except zlib.error as error:
                raise Damaged(str(error)) from error
        return data

    def check_pack(self, pack_id):
        """The trailer and footer, which reading an object doesn't need."""
        data = self.read(f"packs/{pack_id.hex()[:2]}/{pack_id.hex()}.pack")
        require(plain_hash(data) == pack_id, "a pack of another id")
        require(data[:16] == b"ama-pack" + struct.pack("<II", 1, 0), "a pack's header")
        magic, offset, count, zero, digest = struct.unpack("<8sQQQ32s", data[-64:])
        rows = data[offset:-64]
        require(magic == b"ama-pend" and zero == 0 and len(rows) == 64 * count > 0, "a footer")
        require(plain_hash(rows) == digest, "a trailer's hash")
        at = 32
        for object_id, kind, padding, start, stored, full in struct.iter_unpack("<32sB7sQQQ", rows):
            require(start == at and padding == bytes(7), "a trailer's row")
            header = (b"arec", kind, stored, full, object_id)
            found = struct.unpack_from("<4sBBHQQ32s", data, at)
            require(header == (found[0], found[1], *found[4:]), "a row unlike its record")
            at += 64 + stored
        require(at == offset, "a gap between the records and the trailer")

    # What there is

    def files(self, indexes, tree, prefix=""):
        for name, kind, object_id, size in read_tree(self.object(indexes, tree, TREE_KIND)):
            if kind == DIRECTORY:
                yield from self.files(indexes, object_id, f"{prefix}{name}/")
            else:
                data = self.object(indexes, object_id, DATA_KIND)
                require(len(data) == size, "a file of another size")
                yield f"{prefix}{name}", kind, object_id, data

    def asset(self, class_name, row, target=None):
        """One asset as it is listed; its files are written below `target`."""
        listed = {"id": row[0].hex(), "entry": row[1], "status": STATUSES[row[2]], "reason": row[3]}
        if row[2] == 2:
            return listed
        indexes = self.indexes_of(class_name, row)
        asset = read_asset(self.object(indexes, row[0], ASSET_KIND))
        require(asset["class"] == class_name, "an asset of another class")
        files = []
        for path, kind, object_id, data in self.files(indexes, asset["tree"]):
            files.append(
                [path, ("file", "executable", "symlink")[kind], object_id.hex(), len(data)]
            )
            if kind == SYMLINK:
                check_link(path, data.decode())
            if target is not None:
                write(target / path, kind, data)
        return {
            **listed,
            "tree": asset["tree"].hex(),
            "parents": [parent.hex() for parent in asset["parents"]],
            "refs": [[ref.hex(), name, label] for ref, name, label in asset["refs"]],
            "author": asset["author"],
            "created_at": asset["created_at"],
            "message": asset["message"],
            "metadata": asset["metadata"],
            "extra": asset["extra"],
            "files": files,
        }

    def note(self, row, target=None):
        """One note as it is listed; its file is written into `target`."""
        asset, entry, _, (author, at, body) = row
        listed = {key: body[key] for key in ("metadata", "tags", "untags", "message")}
        listed |= {"asset": asset and asset.hex(), "entry": entry, "author": author, "at": at}
        listed["file"] = None
        if body["file"] is not None:
            name, blob, size = body["file"]
            indexes = [self.index(index) for index in self.fold.standing_for(body["needs"])]
            data = self.object(indexes, blob, DATA_KIND)
            require(len(data) == size, "a file of another size")
            listed["file"] = [name, blob.hex(), size]
            if target is not None:
                write(target / str(entry) / name, FILE, data)
        return listed

    def listing(self, directory=None):
        classes = {}
        for name, state in sorted(self.fold.classes.items()):
            assets = []
            for number, row in enumerate(state["assets"], 1):
                target = None if directory is None else Path(directory) / f"{name}-{number}"
                assets.append(self.asset(name, row, target))
            moves = {
                alias: [[asset.hex() if asset else None, *rest] for asset, *rest in rows]
                for alias, rows in sorted(state["aliases"].items())
            }
            aliases = {
                alias: 1 + [row[0] for row in state["assets"]].index(rows[-1][0])
                for alias, rows in sorted(state["aliases"].items())
                if rows[-1][0] is not None
            }
            classes[name] = {"assets": assets, "aliases": aliases, "moves": moves}
        packs = {
            place[1] for i in self.fold.indexes for at in self.index(i).values() for place in at
        }
        for pack_id in packs:
            self.check_pack(pack_id)
        notes = {}
        for name, rows in sorted(self.fold.notes.items()):
            target = None if directory is None else Path(directory) / f"{name}-notes"
            notes[name] = [self.note(row, target) for row in rows]
        return {
            **({"notes": notes} if notes else {}),
            "id": self.format["id"],
            "entries": self.fold.number,
            "last": self.fold.entry_hash.hex(),
            "checkpoints": self.checkpoints,
            "indexes": [index.hex() for index in self.fold.indexes],
            "replaced": {
                old.hex(): [index.hex() for index in new]
                for old, new in sorted(self.fold.replaced.items())
            },
            "condemned_packs": sorted(pack.hex() for pack in self.fold.condemned_packs),
            "condemned_indexes": sorted(index.hex() for index in self.fold.condemned_indexes),
            "classes": classes,
        }


def write(path, kind, data):
    """Write a file that isn't there yet, and never through a symlink."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == SYMLINK:
        path.symlink_to(data.decode())
        return
    mode = 0o755 if kind == EXECUTABLE else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def main(arguments):
    store = Store(arguments[0], arguments[2] if len(arguments) > 2 else None)
    directory = arguments[1] if len(arguments) > 1 and arguments[1] != "-" else None
    json.dump(store.listing(directory), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
