"""The iterations that vehicles told as lost: which are news, and which are results after all.

What a record costs is bounded by what is new in it, and so by what its vehicle ever told: the runs
that were told are kept joined, and no iteration of them is looked up again.
"""

import json

from cloud.ledger.database import Database
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Losses
from user_lib.contract.runs import Run, joined, without

__all__ = ["LossRows"]

MAX_REASONS, MAX_REASON_CHARS = 10, 200
"""What is told of the reasons for which a vehicle dropped results; a rule's name is shorter."""
MAX_RUNS_READ = 20_000
"""More of them would hold up the cloud while somebody asks where a job stands."""

_RUNS = (
    "WITH run AS (SELECT json_extract(value, '$[0]') AS a, json_extract(value, '$[1]') AS b"
    " FROM json_each(?))"
)
_TOLD = (
    f"{_RUNS} SELECT DISTINCT t.id, t.first, t.last FROM run CROSS JOIN told AS t"  # noqa: S608 - constants
    " ON t.assignment = ? AND t.vehicle_id = ? AND t.epoch = ? AND t.first BETWEEN"
    " coalesce((SELECT max(p.first) FROM told AS p WHERE p.assignment = t.assignment"
    " AND p.vehicle_id = t.vehicle_id AND p.epoch = t.epoch AND p.first <= run.a), run.a)"
    " AND run.b + 1 WHERE t.last >= run.a - 1 ORDER BY t.first"
)
"""The runs told before that overlap or touch some others."""
_HERE = (
    f"{_RUNS} SELECT r.iteration FROM run CROSS JOIN results AS r INDEXED BY results_of_vehicle"  # noqa: S608 - constants
    " ON r.assignment = ? AND r.vehicle_id = ? AND r.epoch = ?"
    " AND r.iteration BETWEEN run.a AND run.b ORDER BY r.iteration"
)


class LossRows:
    """The ledger's part on losses; ``row`` is their assignment's."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def keep(self, row: int, losses: Losses) -> tuple[Run, ...]:
        """Keep which iterations are lost; return the runs of those that are news.

        One whose result is here was sent before a rule made the vehicle drop it: the result counts.
        """
        whose = (row, losses.vehicle_id, losses.epoch)
        told = self._db.read(_TOLD, (json.dumps(losses.iterations), *whose))
        fresh = without(losses.iterations, [(first, last) for _, first, last in told])
        if not fresh:
            return ()
        self._tell(whose, told, losses.iterations)
        here = self._db.read(_HERE, (json.dumps(fresh), *whose))
        news = without(fresh, joined((i, i) for (i,) in here))
        self._db.write_many(
            "INSERT INTO losses (assignment, vehicle_id, epoch, first, last, reason)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [(*whose, first, last, losses.reason) for first, last in news],
        )
        return news

    def lost_in(self, row: int, iteration: int) -> set[VehicleId]:
        """Return the vehicles that had to drop their result of an iteration."""
        rows = self._db.read(
            "SELECT DISTINCT vehicle_id FROM losses WHERE assignment = ? AND first <= ?"
            " AND last >= ?",
            (row, iteration, iteration),
        )
        return {vehicle for (vehicle,) in rows}

    def lost_for(self, row: int) -> dict[VehicleId, dict[str, int]]:
        """Return how many results each vehicle had to drop for which reasons, the most first.

        Of vehicles that tell of runs without end, what is beyond `MAX_RUNS_READ` is left out.
        """
        rows = self._db.read(
            "SELECT vehicle_id, substr(reason, 1, ?), CAST(TOTAL(last - first + 1) AS INTEGER)"
            " FROM (SELECT vehicle_id, reason, first, last FROM losses WHERE assignment = ?"
            " LIMIT ?)"
            " GROUP BY 1, 2 ORDER BY 3 DESC, 2",
            (MAX_REASON_CHARS, row, MAX_RUNS_READ),
        )
        found: dict[VehicleId, dict[str, int]] = {}
        for vehicle, reason, count in rows:
            reasons = found.setdefault(vehicle, {})
            if len(reasons) < MAX_REASONS:
                reasons[reason] = count
        return found

    def remove(self, row: int) -> None:
        """Forget the losses of an assignment."""
        self._db.write("DELETE FROM losses WHERE assignment = ?", (row,))
        self._db.write("DELETE FROM told WHERE assignment = ?", (row,))

    def _tell(
        self,
        whose: tuple[int, VehicleId, str],
        told: list[tuple[int, int, int]],
        runs: tuple[Run, ...],
    ) -> None:
        """Put runs in the place of those that they overlap or touch."""
        self._db.write_many("DELETE FROM told WHERE id = ?", [(id_,) for id_, _, _ in told])
        self._db.write_many(
            "INSERT INTO told (assignment, vehicle_id, epoch, first, last) VALUES (?, ?, ?, ?, ?)",
            [
                (*whose, *run)
                for run in joined((*runs, *((first, last) for _, first, last in told)))
            ],
        )
