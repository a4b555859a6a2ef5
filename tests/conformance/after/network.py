#: Sockets, servers, TLS, select, poll and epoll work as ever.
import http.client, http.server, os, select, selectors, signal, socket, socketserver, ssl, sys, threading, urllib.request

class Handler(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.rfile.readline().upper())
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
    t = threading.Thread(target=server.serve_forever, args=(0.01,)); t.start()
    with socket.create_connection(server.server_address) as s:
        s.sendall(b"line\n"); print(s.makefile().readline())
    server.shutdown(); t.join()
with socketserver.ForkingTCPServer(("127.0.0.1", 0), Handler) as server:
    t = threading.Thread(target=server.handle_request); t.start()
    with socket.create_connection(server.server_address) as s:
        s.sendall(b"forked\n"); print(s.makefile().readline())
    t.join()
class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): print("asked for", self.path)
with http.server.HTTPServer(("127.0.0.1", 0), Web) as server:
    t = threading.Thread(target=server.handle_request); t.start()
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{server.server_port}/x") as r:
        print(r.status, r.read())
    t.join()
context = ssl.create_default_context()
print(context.verify_mode, context.check_hostname, len(context.get_ca_certs()) == len(ssl.create_default_context().get_ca_certs()), ssl.OPENSSL_VERSION_INFO[0])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); context.load_default_certs(); print(context.cert_store_stats()["x509"] >= 0)
a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(a, b, server_hostname="example.org")
try: tls.do_handshake()
except ssl.SSLWantReadError: print(len(b.read()) > 100)
print(len(ssl.RAND_bytes(16)))
r, w = os.pipe()
for make in select.epoll, select.poll:
    p = make(); p.register(r, select.POLLIN); print(p.poll(0.0)); os.write(w, b"x"); print(len(p.poll(1)), os.read(r, 9))
print(select.select([r], [w], [], 0) == ([], [w], []))
s = selectors.DefaultSelector(); s.register(r, selectors.EVENT_READ, "data"); os.write(w, b"y")
print([(k.data, e) for k, e in s.select(1)], type(s).__name__)
x, y = socket.socketpair()
socket.send_fds(x, [b"m"], [w]); data, fds, *_ = socket.recv_fds(y, 9, 2); os.write(fds[0], b"z"); print(data, os.read(r, 9))
u = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); u.bind("\0" + str(os.getpid())); u.settimeout(0.01)
try: u.recv(1)
except socket.timeout as e: print(e)
print(y.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4) == os.getpid().to_bytes(4, sys.byteorder), socket.getdefaulttimeout(), socket.gethostname() == os.uname().nodename)
