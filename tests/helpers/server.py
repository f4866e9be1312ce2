"""A server on this machine that stands for the Internet, with the manners that break downloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b'<html><title>Please log in</title></html>'


class Server:
    """Gives the same bytes under every path; the first part of the path says how.

    ``whole``; ``breaks``: the connection ends after each third of the file; ``restarts``: the first answer breaks, and
    every answer begins at the first byte; ``changes``: the same, because the file is another one each time;
    ``truncated``: every answer breaks at the half; ``stalled``: nothing comes after the half; ``silent``: nothing comes
    at all; ``page``: another file comes; ``broken``: status 500; ``missing``: status 404.

    Attributes:
        content: The file.
        requests: Path and ``Range`` of each request.
        release: Ends the stalled answers when it is set.
    """

    def __init__(self, content: bytes, port: int) -> None:
        self.content = content
        self.requests: list[tuple[str, str | None]] = []
        self.release = threading.Event()
        self.port = port

    def url(self, manner: str, name: str = 'cvt.pth') -> str:
        """An address."""
        return f'http://127.0.0.1:{self.port}/{manner}/{name}'

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One GET."""
        manner = handler.path.split('/')[1]
        asked = handler.headers.get('Range')
        self.requests.append((handler.path, asked))
        if manner in ('missing', 'broken'):
            handler.send_error(404 if manner == 'missing' else 500)
            return
        if manner == 'silent':
            self.release.wait()
            return
        content = PAGE if manner == 'page' else self.content
        etag = f'"{len(self.requests)}"' if manner == 'changes' else '"1"'
        start = 0
        if asked and manner in ('whole', 'breaks', 'changes') and handler.headers['If-Range'] == etag:
            start = int(asked.removeprefix('bytes=').removesuffix('-'))
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        handler.send_header('ETag', etag)
        handler.send_header('Content-Length', str(len(content) - start))
        handler.end_headers()
        first = len(self.requests) == 1
        third, half = len(content) // 3, len(content) // 2
        end = {
            'breaks': start + third,
            'restarts': half if first else None,
            'changes': half if first else None,
            'truncated': half,
            'stalled': half,
        }.get(manner)
        handler.wfile.write(content[start:end])
        if manner == 'stalled':
            handler.wfile.flush()
            self.release.wait()


@contextmanager
def serve(content: bytes) -> Iterator[Server]:
    """Serve a file until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as http:
        http.daemon_threads = True
        server = Server(content, http.server_port)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.release.set()
            http.shutdown()
