"""An HTTP server that answers as its clients' specs need it, and misbehaves where the path says so.

    http_peer.py [--tls CERT KEY] [--unix PATH] [--proxy [--refuse]]

Its first line of output is the port. Then each request is a line of JSON: method, target, headers,
the beginning of the body, and the number of the connection that it came on. As a proxy it answers itself what is asked with a whole URL, and tunnels CONNECT.
"""
import argparse
import gzip
import json
import select
import socket
import socketserver
import ssl
import threading
import time
from urllib.parse import parse_qs, urlsplit

counts = {}
lock = threading.Lock()


def tell(request):
    with lock:
        print(json.dumps(request), flush=True)


class Peer(socketserver.BaseRequestHandler):
    def handle(self):
        with lock:
            counts["connections"] = self.number = counts.get("connections", 0) + 1
        try:
            if options.tls:
                self.request = tls.wrap_socket(self.request, server_side=True)
            self.file = self.request.makefile("rb")
            while self.serve():
                pass
        except OSError:
            pass

    def read(self):
        line = self.file.readline()
        if not line:
            return None
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers = []
        while True:
            line = self.file.readline().decode("latin-1").strip("\r\n")
            if not line:
                break
            name, value = line.split(":", 1)
            headers.append([name.lower(), value.strip()])
        length = int(dict(headers).get("content-length", 0))
        body = self.file.read(length).decode("latin-1")
        return {"method": method, "target": target, "headers": headers, "body": body}

    def serve(self):
        request = self.read()
        if not request:
            return False
        tell({**request, "body": request["body"][:1000], "connection": self.number})
        if request["method"] == "CONNECT":
            return self.tunnel(request["target"])
        if options.proxy:
            return self.reply(b"by the proxy")
        parts = urlsplit(request["target"])
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return getattr(self, "do_" + parts.path.strip("/").replace("-", "_"))(request, query)

    def send(self, text):
        self.request.sendall(text if isinstance(text, bytes) else text.encode("latin-1"))

    def reply(self, body, status="200 OK", headers=""):
        self.send("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, headers, len(body)))
        self.send(body)
        return True

    def tunnel(self, target):
        if options.refuse:
            self.send("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
            return False
        host, port = target.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as other:
            self.send("HTTP/1.1 200 Established\r\nX-Tunnel: yes\r\n\r\n")
            pair = {self.request: other, other: self.request}
            while True:
                for ready in select.select(list(pair), [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return False
                    pair[ready].sendall(data)

    # ---- What is asked --------------------------------------------------------------------------

    def do_echo(self, request, query):
        return self.reply(json.dumps(request).encode())

    def do_last(self, request, query):
        """Hangs up after a while, without a word: the client may still think that it is there."""
        self.reply(b"the last one")
        time.sleep(float(query.get("after", 0)))
        return False

    def do_status(self, request, query):
        return self.reply(b"so it is", query["code"] + " Odd")

    def do_flaky(self, request, query):
        """Fails so often, as the query says, before it does not."""
        with lock:
            counts[request["target"]] = n = counts.get(request["target"], 0) + 1
        if n > int(query["times"]):
            return self.reply(b"at last")
        if query["how"] == "hang-up":
            return False
        after = "Retry-After: %s\r\n" % query["after"] if "after" in query else ""
        return self.reply(b"", query["how"] + " Later", after)

    def do_short(self, request, query):
        self.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.")
        return False

    def do_cut_chunk(self, request, query):
        self.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        return False

    def do_nothing(self, request, query):
        return False

    def do_garbage(self, request, query):
        self.send("hello, this is no HTTP\r\n\r\n")
        return False

    def do_silent(self, request, query):
        self.file.read(1)
        tell({"gone": True})
        return False

    def do_stall(self, request, query):
        self.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.")
        return self.do_silent(request, query)

    def do_drip(self, request, query):
        self.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(0.1)
            self.send("x")
        return True

    def do_redirect(self, request, query):
        status = query.get("status", "302") + " Elsewhere"
        return self.reply(b"look there", status, "Location: %s\r\n" % query["to"])

    def do_header_bomb(self, request, query):
        self.send("HTTP/1.1 200 OK\r\n")
        while True:
            self.send("X-Bomb: %s\r\n" % ("x" * 1000))

    def do_long_header(self, request, query):
        self.send("HTTP/1.1 200 OK\r\nX-Bomb: ")
        while True:
            self.send("x" * 10000)

    def do_chunked(self, request, query):
        self.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        for piece in ("a", "bc", "def" * 1000):
            self.send("%x;ext=1\r\n%s\r\n" % (len(piece), piece))
        self.send("0\r\nX-Sum: 3\r\n\r\n")
        return True

    def do_interim(self, request, query):
        self.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        return self.reply(b"final", headers="X-Final: yes\r\n")

    def do_repeated(self, request, query):
        lines = "Set-Cookie: a=1, b\r\nX-List: one\r\nSET-COOKIE: c=2\r\nx-list: two\r\nX-None:\r\n"
        return self.reply(b"", headers=lines)

    def do_etag(self, request, query):
        if dict(request["headers"]).get("if-none-match") == '"v1"':
            self.send('HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\n\r\n')
            return True
        return self.reply(b"new", headers='ETag: "v1"\r\n')

    def do_gzip(self, request, query):
        if "gzip" not in dict(request["headers"]).get("accept-encoding", ""):
            return self.reply(b"plain")
        body = gzip.compress(b"x" * int(query["size"]))
        return self.reply(body, headers="Content-Encoding: gzip\r\n")

    def do_bad_gzip(self, request, query):
        return self.reply(b"this is not gzip", headers="Content-Encoding: gzip\r\n")

    def do_big(self, request, query):
        """So many MB; tells how many were sent when the client does not take them."""
        total, block = int(query["mb"]), bytes(range(250)) * 4000
        self.send("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (total * len(block)))
        for sent in range(total):
            self.send(block)
            with lock:
                counts["sent"] = sent + 1
        return True

    def do_sent(self, request, query):
        return self.reply(str(counts.get("sent", 0)).encode())

    def do_events(self, request, query):
        """The text in the query, a byte at a time."""
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in query["text"]:
            self.send(byte)
            time.sleep(0.001)
        if "stay" in query:
            self.do_silent(request, query)
        return False


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request, address):
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


parser = argparse.ArgumentParser()
parser.add_argument("--tls", nargs=2)
parser.add_argument("--unix")
parser.add_argument("--proxy", action="store_true")
parser.add_argument("--refuse", action="store_true")
options = parser.parse_args()
if options.tls:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*options.tls)
if options.unix:
    server = UnixServer(options.unix, Peer)
    print(0, flush=True)
else:
    server = Server(("127.0.0.1", 0), Peer)
    print(server.server_address[1], flush=True)
server.serve_forever()
