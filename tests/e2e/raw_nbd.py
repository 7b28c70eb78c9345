"""A bare NBD client for what no polite client does: half requests, nonsense, silence."""
import socket
import struct

OPTION_MAGIC = 0x49484156454F5054
REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_INFO, OPT_GO, OPT_STRUCTURED_REPLY = 1, 2, 3, 6, 7, 8
REP_ACK, REP_SERVER, REP_INFO = 1, 2, 3
REP_ERR_UNSUP, REP_ERR_INVALID, REP_ERR_UNKNOWN, REP_ERR_TOO_BIG = (1 << 31 | code for code in (1, 3, 6, 9))
CMD_READ, CMD_WRITE, CMD_DISC = 0, 1, 2


class RawClient:
    def __init__(self, path, handshake=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        if handshake:
            greeting = self.read(18)
            assert greeting[:16] == b"NBDMAGICIHAVEOPT", greeting
            self.socket.sendall(struct.pack(">I", 3))  # Fixed newstyle, no zeroes.

    def read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        return data

    def option(self, option, data=b""):
        """Sends an option; every reply up to the last: [(type, payload)]."""
        self.socket.sendall(struct.pack(">QII", OPTION_MAGIC, option, len(data)) + data)
        replies = []
        while True:
            magic, echoed, kind, length = struct.unpack(">QIII", self.read(20))
            assert (magic, echoed) == (REPLY_MAGIC, option), (hex(magic), echoed)
            replies.append((kind, self.read(length)))
            if kind == REP_ACK or kind & 1 << 31:
                return replies

    def go(self, name):
        encoded = name.encode()
        return self.option(OPT_GO, struct.pack(">I", len(encoded)) + encoded + struct.pack(">H", 0))

    def request(self, command, offset, length, data=b"", cookie=1, flags=0):
        self.socket.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, cookie, offset, length) + data)

    def simple_reply(self):
        magic, error, cookie = struct.unpack(">IIQ", self.read(16))
        assert magic == 0x67446698, hex(magic)
        return error, cookie

    def close(self):
        self.socket.close()
