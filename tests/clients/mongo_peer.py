"""A server of MongoDB's protocol for tests: it checks commands strictly, keeps documents in memory, proves passwords by its own computation,
and lies when it is told to.

Its configuration has four ports: a server of its own, a secondary and the primary of a set, and a node that calls itself no primary.
"""

import base64
import hashlib
import hmac
import os
import socketserver
import struct
import sys
import threading


class Int64(int):
    pass


class Binary(bytes):
    pass


class ObjectId(bytes):
    pass


def encode(document):
    body = b""
    for key, value in document.items():
        body += element(key.encode() + b"\0", value)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def element(key, value):
    if isinstance(value, bool):
        return b"\x08" + key + (b"\1" if value else b"\0")
    if isinstance(value, Int64):
        return b"\x12" + key + struct.pack("<q", value)
    if isinstance(value, int):
        return b"\x10" + key + struct.pack("<i", value)
    if isinstance(value, float):
        return b"\x01" + key + struct.pack("<d", value)
    if isinstance(value, ObjectId):
        return b"\x07" + key + bytes(value)
    if isinstance(value, bytes):
        return b"\x05" + key + struct.pack("<i", len(value)) + b"\0" + bytes(value)
    if isinstance(value, str):
        text = value.encode()
        return b"\x02" + key + struct.pack("<i", len(text) + 1) + text + b"\0"
    if isinstance(value, list):
        return b"\x04" + key + encode({str(i): item for i, item in enumerate(value)})
    if isinstance(value, dict):
        return b"\x03" + key + encode(value)
    assert value is None, value
    return b"\x0a" + key


def decode(data, at=0):
    end = at + struct.unpack_from("<i", data, at)[0] - 1
    assert data[end] == 0, "a document ends with a zero"
    at += 4
    found = {}
    while at < end:
        kind = data[at]
        stop = data.index(b"\0", at + 1)
        key, at = data[at + 1 : stop].decode(), stop + 1
        found[key], at = value_at(kind, data, at)
    assert at == end, "a document has its length"
    return found


def value_at(kind, data, at):
    simple = {1: "<d", 9: "<q", 16: "<i", 17: "<q", 18: "<q"}
    if kind in simple:
        value = struct.unpack_from(simple[kind], data, at)[0]
        return (Int64(value) if kind == 18 else value), at + struct.calcsize(simple[kind])
    if kind == 2:
        size = struct.unpack_from("<i", data, at)[0]
        return data[at + 4 : at + 3 + size].decode(), at + 4 + size
    if kind in (3, 4):
        value = decode(data, at)
        return (list(value.values()) if kind == 4 else value), at + struct.unpack_from("<i", data, at)[0]
    if kind == 5:
        size = struct.unpack_from("<i", data, at)[0]
        return Binary(data[at + 5 : at + 5 + size]), at + 5 + size
    if kind == 7:
        return ObjectId(data[at : at + 12]), at + 12
    if kind == 8:
        return data[at] == 1, at + 1
    assert kind == 10, kind
    return None, at


# Passwords

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
ROUNDS = 4096


def mac(name, key, text):
    return hmac.new(key, text, name).digest()


def salted(name, user, password, salt, rounds):
    if name == "sha1":
        password = hashlib.md5(f"{user}:mongo:{password}".encode()).hexdigest()
    return hashlib.pbkdf2_hmac(name, password.encode(), salt, rounds)


def proofs(name, key, text):
    own = mac(name, key, b"Client Key")
    sign = mac(name, hashlib.new(name, own).digest(), text)
    return bytes(a ^ b for a, b in zip(own, sign)), mac(name, mac(name, key, b"Server Key"), text)


def example():
    """The exchange in RFC 7677 §3."""
    key = hashlib.pbkdf2_hmac("sha256", b"pencil", SALT, ROUNDS)
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    text = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s={base64.b64encode(SALT).decode()},i=4096,c=biws,r={nonce}"
    shown, known = proofs("sha256", key, text.encode())
    assert base64.b64encode(shown) == b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert base64.b64encode(known) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


example()

# Documents

LOCK = threading.RLock()
STORE, CURSORS, INDEXES, HEARD = {}, {}, {}, []


def matches(document, query):
    for key, wanted in query.items():
        found = document.get(key)
        if isinstance(wanted, dict) and any(name.startswith("$") for name in wanted):
            for name, bound in wanted.items():
                if not {"$gt": lambda: found is not None and found > bound, "$in": lambda: found in bound}[name]():
                    return False
        elif found != wanted:
            return False
    return True


def changed(document, update):
    if not any(name.startswith("$") for name in update):
        return {"_id": document.get("_id"), **update}
    document = dict(document)
    for key, value in update.get("$set", {}).items():
        document[key] = value
    for key, value in update.get("$inc", {}).items():
        document[key] = document.get(key, 0) + value
    return document


def ordered(documents, order):
    for key, way in reversed(list(order.items())):
        documents = sorted(documents, key=lambda it: it.get(key), reverse=way < 0)
    return documents


def projected(documents, projection):
    if not projection:
        return documents
    return [{key: it[key] for key in it if projection.get(key, 0) or key == "_id" and projection.get("_id", 1)} for it in documents]


def bounded(documents, skip, limit):
    documents = documents[skip:]
    return documents[:limit] if limit else documents


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def only(command, *names):
    """A command has no fields but these."""
    for name in list(command)[1:]:
        if name not in (*names, "$db", "lsid", "txnNumber", "autocommit", "startTransaction", "writeConcern"):
            raise Refused(40415, f"BSON field '{name}' is an unknown field")
    return [command.get(name) for name in names]


def full_name(command):
    return f"{command['$db']}.{next(iter(command.values()))}"


def batches(name, documents, size):
    first, rest = documents[: size or 3], documents[size or 3 :]
    number = Int64(0)
    if rest:
        number = Int64(len(CURSORS) + (1 << 40))
        CURSORS[number] = rest
    return {"cursor": {"firstBatch": first, "id": number, "ns": name}, "ok": 1.0}


def insert(command):
    (documents,) = only(command, "documents")
    stored = STORE.setdefault(full_name(command), [])
    for index, document in enumerate(documents):
        if any(it["_id"] == document.get("_id") for it in stored):
            return {"n": index, "writeErrors": [{"index": index, "code": 11000, "errmsg": "E11000 duplicate key error"}], "ok": 1.0}
        stored.append({"_id": ObjectId(os.urandom(12)), **document})
    return {"n": len(documents), "ok": 1.0}


def update(command):
    (updates,) = only(command, "updates")
    stored = STORE.setdefault(full_name(command), [])
    count = 0
    for one in updates:
        found = [index for index, it in enumerate(stored) if matches(it, one["q"])]
        for index in found if one.get("multi") else found[:1]:
            stored[index] = changed(stored[index], one["u"])
            count += 1
        if not found and one.get("upsert"):
            stored.append(changed({"_id": ObjectId(os.urandom(12)), **one["q"]}, one["u"]))
    return {"n": count, "ok": 1.0}


def delete(command):
    (deletes,) = only(command, "deletes")
    count = 0
    for one in deletes:
        stored = STORE.setdefault(full_name(command), [])
        found = [it for it in stored if matches(it, one["q"])]
        found = found[: one["limit"]] if one["limit"] else found
        STORE[full_name(command)] = [it for it in stored if not any(it is other for other in found)]
        count += len(found)
    return {"n": count, "ok": 1.0}


def check_hint(command):
    if command.get("hint") not in (None, "_id_", *INDEXES.get(full_name(command), [])):
        raise Refused(2, "hint provided does not correspond to an existing index")


def find(command):
    fields = only(command, "filter", "sort", "projection", "skip", "limit", "hint", "maxTimeMS", "batchSize")
    query, order, projection, skip, limit, hint, time, size = fields
    check_hint(command)
    documents = [it for it in STORE.get(full_name(command), []) if matches(it, query)]
    documents = projected(bounded(ordered(documents, order), skip or 0, limit or 0), projection)
    return batches(full_name(command), documents, size)


def count(command):
    query, skip, limit, hint, time = only(command, "query", "skip", "limit", "hint", "maxTimeMS")
    check_hint(command)
    documents = [it for it in STORE.get(full_name(command), []) if matches(it, query)]
    return {"n": len(bounded(documents, skip or 0, limit or 0)), "ok": 1.0}


def get_more(command):
    name, size = only(command, "collection", "batchSize")
    number = command["getMore"]
    assert isinstance(number, Int64), "a cursor has 64 bits"
    if number not in CURSORS:
        raise Refused(43, f"cursor id {number} not found")
    documents = CURSORS[number]
    size = size or 3
    batch, CURSORS[number] = documents[:size], documents[size:]
    left = number if CURSORS[number] else Int64(0)
    if not left:
        del CURSORS[number]
    return {"cursor": {"nextBatch": batch, "id": left, "ns": name}, "ok": 1.0}


def kill_cursors(command):
    (numbers,) = only(command, "cursors")
    for number in numbers:
        CURSORS.pop(number, None)
    return {"ok": 1.0}


def aggregate(command):
    pipeline, cursor, explain, hint, time, disk = only(command, "pipeline", "cursor", "explain", "hint", "maxTimeMS", "allowDiskUse")
    documents = STORE.get(full_name(command), [])
    for stage in pipeline:
        ((name, value),) = stage.items()
        documents = {
            "$match": lambda: [it for it in documents if matches(it, value)],
            "$sort": lambda: ordered(documents, value),
            "$skip": lambda: documents[value:],
            "$limit": lambda: documents[:value],
            "$count": lambda: [{value: len(documents)}] if documents else [],
        }[name]()
    return batches(full_name(command), documents, (cursor or {}).get("batchSize"))


def find_and_modify(command):
    query, new_value, remove, new, upsert, order, fields = only(command, "query", "update", "remove", "new", "upsert", "sort", "fields")
    stored = STORE.setdefault(full_name(command), [])
    found = ordered([it for it in stored if matches(it, query)], order or {})
    old = found[0] if found else None
    if remove:
        stored[:] = [it for it in stored if it is not old]
        return {"value": old, "ok": 1.0}
    if old is None and not upsert:
        return {"value": None, "ok": 1.0}
    fresh = changed(old or {"_id": ObjectId(os.urandom(12)), **query}, new_value)
    stored[:] = [fresh if it is old else it for it in stored]
    if old is None:
        stored.append(fresh)
    return {"value": fresh if new else old, "ok": 1.0}


def create_indexes(command):
    (indexes,) = only(command, "indexes")
    names = INDEXES.setdefault(full_name(command), [])
    before = len(names) + 1
    for index in indexes:
        text = "_".join(f"{key}_{way}" for key, way in index["key"].items())
        if index["name"] not in (text, "own name"):
            raise Refused(67, f"another name: {index['name']}")
        names.append(index["name"])
    return {"numIndexesBefore": before, "numIndexesAfter": len(names) + 1, "ok": 1.0}


def drop_indexes(command):
    (name,) = only(command, "index")
    names = INDEXES.setdefault(full_name(command), [])
    if name != "*" and name not in names:
        raise Refused(27, f"index not found with name [{name}]")
    INDEXES[full_name(command)] = [] if name == "*" else [it for it in names if it != name]
    return {"ok": 1.0}


def drop(command):
    only(command)
    if STORE.pop(full_name(command), None) is None:
        raise Refused(26, "ns not found")
    return {"ok": 1.0}


def bulk_write(command):
    operations, names, is_ordered, errors_only = only(command, "ops", "nsInfo", "ordered", "errorsOnly")
    for one in operations:
        STORE.setdefault(names[one["insert"]]["ns"], []).append(one["document"])
    return {"nInserted": len(operations), "nErrors": 0, "ok": 1.0}


COMMANDS = {
    "insert": insert,
    "update": update,
    "delete": delete,
    "find": find,
    "count": count,
    "getMore": get_more,
    "killCursors": kill_cursors,
    "aggregate": aggregate,
    "findAndModify": find_and_modify,
    "createIndexes": create_indexes,
    "dropIndexes": drop_indexes,
    "drop": drop,
    "bulkWrite": bulk_write,
    "ping": lambda command: {"ok": 1.0},
    "logout": lambda command: {"ok": 1.0},
    "buildInfo": lambda command: {"version": "0.0", "ok": 1.0},
    "heard": lambda command: {"names": HEARD[-8:], "ok": 1.0},
}

EMPTY = b"\5\0\0\0\0"


def packed(number, body, kind=2013, flags=0, section=0):
    return struct.pack("<iiiiIB", len(body) + 21, 1, number, kind, flags, section) + body


def deep(levels):
    heads = [struct.pack("<i", 8 * level + 5) + b"\3a\0" for level in range(levels, 0, -1)]
    return b"".join(heads) + EMPTY + bytes(levels)


LIES = {
    "another request": lambda number: packed(number + 1, EMPTY),
    "an old kind": lambda number: packed(number, EMPTY, kind=1),
    "a section": lambda number: packed(number, EMPTY, section=1),
    "too long": lambda number: struct.pack("<i", 0x7FFFFFFF),
    "too short": lambda number: struct.pack("<i", 4),
    "negative": lambda number: struct.pack("<i", -1),
    "cut": lambda number: packed(number, encode({"ok": 1.0}))[:-3],
    "cut in its length": lambda number: b"\1\2",
    "deep": lambda number: packed(number, deep(100_000)),
    "shorter than its document": lambda number: packed(number, struct.pack("<i", 99) + b"\0"),
    "longer than its document": lambda number: packed(number, encode({"ok": 1.0, "n": 7}) + bytes(50)),
    "with a checksum": lambda number: packed(number, encode({"ok": 1.0, "n": 8}) + bytes(4), flags=1),
    "an unknown type": lambda number: packed(number, b"\x0a\0\0\0\x99a\0\0\0\0"),
    "no cursor": lambda number: packed(number, encode({"ok": 1.0})),
    "a false cursor": lambda number: packed(number, encode({"ok": 1.0, "cursor": {"firstBatch": "x", "id": 1}})),
    "empty batches": lambda number: packed(number, encode({"ok": 1.0, "cursor": {"nextBatch": [], "firstBatch": [], "id": Int64(9)}})),
}


class Session(socketserver.BaseRequestHandler):
    user, told, running = None, None, None

    def exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.request.recv(size - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def handle(self):
        try:
            while True:
                self.message()
        except ConnectionError:
            pass

    def message(self):
        size, number, _, kind = struct.unpack("<iiii", self.exactly(16))
        body = self.exactly(size - 16)
        assert kind == 2013 and body[4] == 0, "every command is one section of OP_MSG"
        flags = struct.unpack_from("<I", body)[0]
        command = decode(body, 5)
        assert len(body) == 5 + struct.unpack_from("<i", body, 5)[0], "nothing is behind the section"
        name = next(iter(command))
        told = self.told
        if told and name in ("ping", "find", "getMore", "aggregate"):
            self.request.sendall(LIES[told](number))
            if told.startswith("cut"):
                raise ConnectionError
            return
        with LOCK:
            if name != "heard":
                HEARD.append(" ".join(word for word in command if word != "$db"))
            try:
                answer = self.answer(name, command)
            except Refused as refused:
                answer = {"ok": 0.0, "errmsg": str(refused), "code": refused.code}
        if flags == 2:
            assert command.get("writeConcern") == {"w": 0}, "a command without an answer says so"
            return
        assert flags == 0
        self.request.sendall(packed(number, encode(answer)))

    def answer(self, name, command):
        if name in ("ismaster", "saslStart", "saslContinue", "lie", "leave", "startSession", "endSessions", "commitTransaction", "abortTransaction"):
            return getattr(self, name)(command)
        if command["$db"] == "locked" and not self.user:
            raise Refused(13, f"command {name} requires authentication")
        if "txnNumber" in command:
            self.check_transaction(name, command)
        if name == "logout":
            self.user = None
        if name not in COMMANDS:
            raise Refused(59, f"no such command: '{name}'")
        return COMMANDS[name](command)

    def lie(self, command):
        Session.told = command["lie"] or None
        return {"ok": 1.0}

    def leave(self, command):
        raise ConnectionError

    # The set

    def ismaster(self, command):
        ports, at = self.server.ports, self.server.ports.index(self.server.server_address[1])
        names = [f"127.0.0.1:{port}" for port in ports]
        if at == 0:
            return {"ismaster": True, "ok": 1.0}
        if at == 3:
            return {"ismaster": False, "primary": names[3], "hosts": [names[3]], "me": names[3], "ok": 1.0}
        return {"ismaster": at == 2, "secondary": at == 1, "primary": names[2], "hosts": names[1:3], "me": names[at], "ok": 1.0}

    # Passwords

    USERS = {"ann": "secret", "a=b,c": "it, = is", "few": "x", "many": "x", "thief": "x"}

    def saslStart(self, command):
        mechanism, payload, _ = only(command, "mechanism", "payload", "autoAuthorize")
        assert isinstance(payload, Binary) and payload.startswith(b"n,,n=")
        self.hash, self.first = HASHES[mechanism], payload[3:].decode()
        words = dict(word.split("=", 1) for word in self.first.split(","))
        self.name = words["n"].replace("=2C", ",").replace("=3D", "=")
        if self.name not in self.USERS:
            raise Refused(18, "Authentication failed.")
        rounds = {"few": 1, "many": 2_000_000_000}.get(self.name, ROUNDS)
        self.nonce = words["r"] + "server" if self.name != "thief" else "another"
        self.challenge = f"r={self.nonce},s={base64.b64encode(SALT).decode()},i={rounds}"
        return {"conversationId": 5, "payload": self.challenge.encode(), "done": False, "ok": 1.0}

    def saslContinue(self, command):
        number, payload = only(command, "conversationId", "payload")
        assert number == 5
        if not payload:
            self.user = self.name
            return {"conversationId": 5, "payload": b"", "done": True, "ok": 1.0}
        bare, _, shown = payload.decode().rpartition(",p=")
        assert bare == f"c=biws,r={self.nonce}"
        key = salted(self.hash, self.name, self.USERS[self.name], SALT, ROUNDS)
        expected, known = proofs(self.hash, key, f"{self.first},{self.challenge},{bare}".encode())
        if base64.b64decode(shown) != expected:
            raise Refused(18, "Authentication failed.")
        return {"conversationId": 5, "payload": b"v=" + base64.b64encode(known), "done": False, "ok": 1.0}

    # Transactions: one at a time, of all collections.

    def startSession(self, command):
        return {"id": {"id": Binary(os.urandom(16))}, "timeoutMinutes": 30, "ok": 1.0}

    def endSessions(self, command):
        assert isinstance(command["endSessions"], list)
        return {"ok": 1.0}

    def check_transaction(self, name, command):
        assert isinstance(command["txnNumber"], Int64) and command["autocommit"] is False and command["lsid"]["id"]
        assert "writeConcern" not in command
        if command.get("startTransaction"):
            assert Session.running is None
            Session.running = (command["lsid"], command["txnNumber"], {key: list(value) for key, value in STORE.items()})
        if Session.running is None or Session.running[:2] != (command["lsid"], command["txnNumber"]):
            raise Refused(251, "Given transaction number does not match any in-progress transactions.")

    def commitTransaction(self, command):
        return self.end_transaction(command, False)

    def abortTransaction(self, command):
        return self.end_transaction(command, True)

    def end_transaction(self, command, is_undone):
        only(command)
        assert command["$db"] == "admin" and "startTransaction" not in command
        self.check_transaction("", command)
        before, Session.running = Session.running[2], None
        if is_undone:
            STORE.clear()
            STORE.update(before)
        return {"ok": 1.0}


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


with open(sys.argv[1]) as config:
    PORTS = [int(port) for port in config.read().split()]
Server.ports = PORTS
for port in PORTS[1:]:
    threading.Thread(target=Server(("127.0.0.1", port), Session).serve_forever, daemon=True).start()
Server(("127.0.0.1", PORTS[0]), Session).serve_forever()
