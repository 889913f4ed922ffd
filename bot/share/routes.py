"""The routes: a file for each generation, created once, and a copy of the newest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bot.domain.routes import RouteTable, generation_file
from bot.errors import LeaseLost, Rejected
from bot.folders import sync_folder
from bot.share.fence import Fenced
from bot.share.volume import Part

_KEPT_GENERATIONS = 50


class Routes(Part):
    """What gateways serve."""

    def read(self, environment: str) -> RouteTable:
        """Return the routes in force; the empty table of generation 0 where there are none yet."""
        table = self._table(self.state / "routes.json") or RouteTable(environment)
        # A process that was killed or overtaken between the commit and its copy left an older routes.json.
        while later := self._table(self._generation(table.generation + 1)):
            table = later
        return table

    def _table(self, path: Path) -> RouteTable | None:
        with self._errors(f"read {path.name}"):
            text = self._read(path)
        if text is None:
            return None
        try:
            return RouteTable.from_json(text)
        except ValueError as error:
            raise Rejected(
                f"{path} is not readable: {error}",
                system=self._system,
                next_step="Put back the last good file; gateways keep what they have.",
            ) from error

    def _generation(self, number: int) -> Path:
        return self.state / "routes" / generation_file(number)


class HeldRoutes(Fenced, Routes):
    """The routes, for the holder of the lease."""

    def prepare(self, table: RouteTable) -> None:
        """Write a table beside routes.json that may have to come into force when the disk is full."""
        with self._errors("prepare routes.json"):
            self._make_folders()
            for prepared in self._prepared(table):
                self._replace(prepared, table.to_json())

    def write(self, table: RouteTable) -> None:
        """Put the table in force, synced: from here on the new routes are what recovers after a crash.

        A generation is created once. A process that comes second with another table for the same one has been
        overtaken since it looked, however long it was paused in between: LeaseLost, and nothing was touched.
        """
        with self._errors("write routes.json"):
            self._make_folders()
            (prepared, copy), committed = self._prepared(table), self._generation(table.generation)
            for path in (prepared, copy):
                if self._read(path) != table.to_json().encode():
                    self._replace(path, table.to_json())
            try:
                os.link(prepared, committed)
            except FileExistsError as error:
                # On NFS the first try may have succeeded, and only its reply been lost.
                if self._read(committed) != table.to_json().encode():
                    prepared.unlink(missing_ok=True)
                    copy.unlink(missing_ok=True)
                    raise LeaseLost(
                        f"generation {table.generation} of the routes was written by a later deployment or rollback",
                        state="Nothing was changed by this one; the later one converges the environment.",
                        next_step="`promobot status` shows what it did.",
                    ) from error
            sync_folder(committed.parent)
            # A copy, no link: a person may edit routes.json in place when all else fails, and history stays.
            copy.replace(self.state / "routes.json")
            sync_folder(self.state)
            prepared.unlink(missing_ok=True)
            for path in committed.parent.iterdir():
                if path.name < generation_file(table.generation - _KEPT_GENERATIONS):
                    path.unlink(missing_ok=True)

    def _prepared(self, table: RouteTable) -> tuple[Path, Path]:
        # Named by its content: else somebody else's table could take its place right before it is linked.
        name = f"routes-{table.generation}-{hashlib.sha256(table.to_json().encode()).hexdigest()[:16]}"
        return self.state / "staging" / f"{name}.json", self.state / "staging" / f"{name}-copy.json"
