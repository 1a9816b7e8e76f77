"""A server of MySQL's protocol that proves passwords by its own computation, and otherwise says what it is told.

The user's name is what it does at the login. A query is a verb and hexadecimal digits: `raw` answers with these bytes, `end` closes the
connection behind them, `keep` answers the next execution of a statement with them, `flood` sends what is before a comma, then packets with
what is behind it without end.
"""

import hashlib
import os
import socketserver
import subprocess
import sys
import tempfile

PASSWORD = b"secret"
FOLDER = tempfile.mkdtemp(dir=os.path.dirname(sys.argv[1]))
KEY = os.path.join(FOLDER, "key.pem")
OK = b"\0\0\0\2\0\0\0"


def openssl(*words, **more):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, **more).stdout


openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", KEY)
PUBLIC = openssl("pkey", "-in", KEY, "-pubout")


def xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other))


def native(challenge):
    once = hashlib.sha1(PASSWORD).digest()
    return xor(once, hashlib.sha1(challenge + hashlib.sha1(once).digest()).digest())


def caching(challenge):
    once = hashlib.sha256(PASSWORD).digest()
    return xor(once, hashlib.sha256(hashlib.sha256(once).digest() + challenge).digest())


class Peer(socketserver.BaseRequestHandler):
    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.request.recv(count - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def read(self):
        head = self.exactly(4)
        self.number = (head[3] + 1) & 255
        return self.exactly(int.from_bytes(head[:3], "little"))

    def write(self, data):
        self.request.sendall(len(data).to_bytes(3, "little") + bytes([self.number]) + data)
        self.number = (self.number + 1) & 255

    def refuse(self, text):
        self.write(b"\xff\x15\x04#28000" + text.encode())
        raise ConnectionError

    def check(self, found, expected):
        if found != expected:
            self.refuse("the proof is wrong")

    def login(self):
        self.number = 0
        challenge = bytes(range(1, 21))
        self.write(
            b"\x0a8.0.99-peer\0" + b"\7\0\0\0" + challenge[:8] + b"\0" + b"\xff\xf7" + b"\xff" + b"\2\0" + b"\xff\xdf" + b"\x15"
            + bytes(10) + challenge[8:] + b"\0" + b"caching_sha2_password\0"
        )
        hello = self.read()
        user, rest = hello[32:].split(b"\0", 1)
        proof = rest[1 : 1 + rest[0]]
        getattr(self, "as_" + user.decode())(challenge, proof)
        self.write(OK)

    def as_fast(self, challenge, proof):
        self.check(proof, caching(challenge))
        self.write(b"\1\3")

    def as_full(self, challenge, proof):
        self.write(b"\1\4")
        if self.read() != b"\2":
            self.refuse("the key was not asked for")
        self.write(b"\1" + PUBLIC)
        words = ["pkeyutl", "-decrypt", "-inkey", KEY, "-pkeyopt", "rsa_padding_mode:oaep"]
        text = openssl(*words, input=self.read())
        self.check(xor(text, challenge), PASSWORD + b"\0")

    def as_switch(self, challenge, proof):
        other = bytes(range(40, 60))
        self.write(b"\xfemysql_native_password\0" + other + b"\0")
        self.check(self.read(), native(other))

    def as_empty(self, challenge, proof):
        self.check(proof, b"")

    def as_unproven(self, challenge, proof):
        pass

    def as_ancient(self, challenge, proof):
        self.write(b"\xfe")
        self.read()

    def as_other(self, challenge, proof):
        self.write(b"\xfeclient_ed25519\0" + bytes(32))
        self.read()

    def as_forger(self, challenge, proof):
        self.write(b"\1\4")
        self.read()
        self.write(b"\1-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
        self.read()

    def as_endless(self, challenge, proof):
        while True:
            self.write(b"\1\3")

    def as_garbled(self, challenge, proof):
        self.write(b"\xfe")
        self.request.sendall(bytes.fromhex("ffffff00") + bytes(100))
        raise ConnectionError

    def answer(self, command):
        if command[:1] == b"\x17":
            self.request.sendall(self.kept)
            raise ConnectionError
        verb, _, digits = command[1:].decode().partition(" ")
        first, _, again = digits.partition(",")
        data = bytes.fromhex(first)
        if verb == "keep":
            self.kept = data
            self.write(OK)
            return
        self.request.sendall(data)
        if verb == "flood":
            self.flood(data, bytes.fromhex(again))
        if verb == "end":
            raise ConnectionError

    def flood(self, sent, data):
        at = 0
        while at < len(sent):
            at += 4 + int.from_bytes(sent[at : at + 3], "little")
            self.number = (self.number + 1) & 255
        while True:
            self.write(data)

    def handle(self):
        try:
            self.login()
            while True:
                command = self.read()
                if command[:1] == b"\1":
                    return
                self.answer(command)
        except (ConnectionError, subprocess.CalledProcessError):
            pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


with open(sys.argv[1]) as config:
    Server(("127.0.0.1", int(config.read())), Peer).serve_forever()
