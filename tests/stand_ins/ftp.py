"""A small FTP server on a port of 127.0.0.1: it shows one folder, as far as MLflow's SDK asks for it."""

from __future__ import annotations

import socket
import socketserver
import threading
from pathlib import Path
from types import TracebackType


class FtpServer(socketserver.ThreadingTCPServer):
    """Shows ``folder``. ``commands`` are what clients said so far; the files in ``broken`` break off when sent."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.folder, self.commands, self.broken = folder, list[str](), set[str]()

    @property
    def url(self) -> str:
        return f"ftp://somebody:password@127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> FtpServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class _Session(socketserver.StreamRequestHandler):
    server: FtpServer

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline().decode().strip():
            self.server.commands.append(line)
            command, _, name = line.partition(" ")
            place = self.server.folder / name.lstrip("/")
            match command.upper():
                case "USER":
                    self._say("331 password?")
                case "PASS" | "TYPE" | "QUIT":
                    self._say("200 yes" if command != "PASS" else "230 yes")
                case "CWD":
                    self._say("250 yes" if place.is_dir() else "550 no such folder")
                case "SIZE":
                    self._say(f"213 {place.stat().st_size}" if place.is_file() else "550 no such file")
                case "PASV":
                    self._data = socket.create_server(("127.0.0.1", 0))
                    port = self._data.getsockname()[1]
                    self._say(f"227 here (127,0,0,1,{port // 256},{port % 256})")
                case "NLST":
                    self._send("".join(f"{one.name}\r\n" for one in sorted(place.iterdir())).encode())
                case "RETR" if place.name in self.server.broken:
                    self._data.close()
                    self._say("451 it broke off")
                case "RETR":
                    self._send(place.read_bytes())
                case _:
                    self._say("502 not known")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def _send(self, content: bytes) -> None:
        self._say("150 it comes")
        with self._data as listening:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(content)
        self._say("226 that was it")
