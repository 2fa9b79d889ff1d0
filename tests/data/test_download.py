"""Downloads against a server on this machine: checked, resumed, in place only when complete."""

import gzip
import hashlib
import os
import re
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import process
import pytest

from xpconv.data.download import RemoteFile, data_folder, fetch

CONTENT = np.random.default_rng(0).bytes(1_000_000)
HASH = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves /NAME as the server's `answers[NAME]` says, and remembers the ranges asked for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        how = self.server.how
        content = self.server.content
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if how == "404":
            self.send_error(404)
            return
        if how == "500 once" and len(self.server.asked) == 1:
            self.send_error(500)
            return
        if start and how != "no ranges":
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            start = 0
            self.send_response(200)
        body = content[start:]
        if how == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (body[:1000], body[1000:]):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        if how == "no length":
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how == "cut":  # 300 kB a request
            self.wfile.write(body[:300_000])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close() if len(body) > 300_000 else None
            return
        if how == "cut at once":
            self.close_connection = True
            return
        self.wfile.write(body)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.asked, server.how, server.content = [], "well", CONTENT
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.handle_error = lambda *args: None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def file_of(*servers, sha256=HASH):
    return RemoteFile("set.bin", sha256, tuple(getattr(s, "url", s) for s in servers))


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(server, tmp_path):
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        path = fetch("load", file_of(server), folder)
        assert path == folder / "set.bin" and path.read_bytes() == CONTENT
    assert server.asked == [("/set.bin", None)] and files_in(folder) == ["set.bin"]


@pytest.mark.parametrize("how", ["chunked", "no length", "no ranges"])
def test_forms_of_answers(server, tmp_path, how):
    server.how = how
    assert fetch("load", file_of(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("how", ["well", "no ranges", "cut"])
@pytest.mark.parametrize("size", [1, 400_000, 999_999, 1_000_000, 1_000_001])
def test_a_part_is_completed(server, tmp_path, size, how):
    """Also one that is complete, too long, or that a server without ranges sends from the start."""
    server.how = how
    (tmp_path / "set.bin.part").write_bytes((CONTENT + b"x")[:size])
    assert fetch("load", file_of(server), tmp_path).read_bytes() == CONTENT
    assert files_in(tmp_path) == ["set.bin"]
    ranges = [r for _, r in server.asked]
    assert ranges[:1] == ([] if size == 1_000_000 else [f"bytes={size}-"])
    if size < 1_000_000 and how == "well":
        assert len(ranges) == 1


def test_what_breaks_off_goes_on(server, tmp_path):
    server.how = "cut"
    assert fetch("load", file_of(server), tmp_path).read_bytes() == CONTENT
    assert [r for _, r in server.asked] == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_part_of_another_file_is_dropped(server, tmp_path):
    (tmp_path / "set.bin.part").write_bytes(b"other" * 100)
    assert fetch("load", file_of(server), tmp_path).read_bytes() == CONTENT
    assert [r for _, r in server.asked] == ["bytes=500-", None]


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    wrong = "0" * 64
    with pytest.raises(
        OSError, match=f"load: could not download set.bin .*its SHA-256 is {HASH}, expected {wrong}"
    ):
        fetch("load", file_of(server, sha256=wrong), tmp_path)
    assert not (tmp_path / "set.bin").exists()
    assert (tmp_path / "set.bin.part").stat().st_size == 0
    assert len(server.asked) == 1


def test_a_truncated_file_stays_a_part(server, tmp_path):
    server.how = "cut at once"
    with pytest.raises(OSError, match=r"set.bin: it stopped after 0 bytes.*continues where this stopped"):
        fetch("load", file_of(server), tmp_path)
    server.how, server.content = "no length", CONTENT[:600]
    with pytest.raises(OSError, match="its SHA-256 is"):
        fetch("load", file_of(server), tmp_path)
    assert not (tmp_path / "set.bin").exists()


def test_not_found_and_the_next_address(server, tmp_path):
    server.how = "404"
    folder = re.escape(str(tmp_path))
    message = f"set.bin: HTTP 404 Not Found.* or put the file set.bin into {folder} yourself"
    with pytest.raises(OSError, match=message):
        fetch("load", file_of(server), tmp_path)
    server.asked.clear()
    server.how = "500 once"
    assert fetch("load", file_of(server, server), tmp_path).read_bytes() == CONTENT


def test_no_network(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as closed:
        port = closed.server_port
    address = f"http://127.0.0.1:{port}"
    with pytest.raises(
        OSError, match=rf"load: could not download set.bin .{address}/set.bin: URLError: .*refused"
    ):
        fetch("load", file_of(address), tmp_path)
    with pytest.raises(OSError, match="URLError"):
        fetch("load", file_of("http://nowhere.invalid"), tmp_path)
    server_that_stands = tmp_path / "file"
    server_that_stands.write_text("not a folder")
    with pytest.raises(OSError, match=r"could not download set.bin .(NotADirectory|FileExists)Error"):
        fetch("load", file_of(address), server_that_stands)


def test_several_processes_and_threads_at_once(server, tmp_path):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch("load", file_of(server), tmp_path)))
        for _ in range(4)
    ]
    code = (
        "from pathlib import Path; from xpconv.data.download import RemoteFile, fetch;"
        f"fetch('load', RemoteFile('set.bin', '{HASH}', ('{server.url}',)), Path({str(tmp_path)!r}))"
    )
    with process.started([sys.executable, "-c", code]) as other:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        printed = process.output(other)
    assert (other.returncode, *printed) == (0, "", "")
    assert results == [tmp_path / "set.bin"] * 4 and results[0].read_bytes() == CONTENT
    assert files_in(tmp_path) == ["set.bin"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_killed_download_goes_on(server, tmp_path):
    """The process that had the lock is gone; what it had stays."""
    code = (
        "import os, signal; from pathlib import Path; import xpconv.data.download as d; whole = d._append\n"
        "def half(url, part, *rest):\n"
        f"    part.write({CONTENT[:1000]!r}); part.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "d._append = half\n"
        f"d.fetch('load', d.RemoteFile('set.bin', '{HASH}', ('{server.url}',)), Path({str(tmp_path)!r}))"
    )
    assert process.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert files_in(tmp_path) == ["set.bin.part"]
    assert fetch("load", file_of(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/set.bin", "bytes=1000-")]


def test_ctrl_c_keeps_what_has_come(server, tmp_path, monkeypatch):
    import xpconv.data.download as download

    def interrupted(url, part, *rest):
        part.write(CONTENT[:5000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch("load", file_of(server), tmp_path)
    assert (tmp_path / "set.bin.part").read_bytes() == CONTENT[:5000]
    assert fetch("load", file_of(server), tmp_path).read_bytes() == CONTENT


def test_the_folder_of_downloads(monkeypatch, tmp_path):
    monkeypatch.setenv("XPCONV_DATA", str(tmp_path))
    assert data_folder("mnist") == tmp_path / "mnist"
    monkeypatch.setenv("XPCONV_DATA", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    if os.name == "posix":
        assert data_folder("mnist") == tmp_path / ".cache" / "xpconv" / "mnist"


def test_the_bar_of_a_terminal(server, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch("load", file_of(server), tmp_path)
    assert "set.bin" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    (tmp_path / "set.bin").unlink()
    assert fetch("load", file_of(server), tmp_path).read_bytes() == CONTENT


def test_gzip_is_not_unpacked_on_the_way(server, tmp_path):
    server.content = gzip.compress(b"abc")
    file = file_of(server, sha256=hashlib.sha256(server.content).hexdigest())
    assert fetch("load", file, tmp_path).read_bytes() == server.content
