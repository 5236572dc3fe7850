"""probe.py PORT PATH INTERVAL: asks again and again until its input ends; prints a JSON list of how
many milliseconds each answer took. Every eighth request is on a new connection, its making counted.
"""

import json
import select
import socket
import sys
import time


def answer(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536) or sys.exit("closed")
    head, body = data.split(b"\r\n\r\n", 1)
    if b" 200 " not in head[:16]:
        sys.exit(head)
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536) or sys.exit("closed")


def main(port, path, interval):
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    sock, took, n = None, [], 0
    while n == 0 or not select.select([sys.stdin], [], [], interval)[0]:
        began = time.perf_counter()
        if n % 8 == 0:
            if sock:
                sock.close()
            sock = socket.create_connection(("127.0.0.1", port), 60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        n += 1
        sock.sendall(request)
        answer(sock)
        took.append((time.perf_counter() - began) * 1000)
    print(json.dumps(took))


main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
