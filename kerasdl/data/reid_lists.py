"""Pictures of identities named in a table: `reid_list:FILE.csv`.

    path,pid,camid,role                 role may be left out
    day1/left/0001.jpg,1,3,train        paths from the table's own folder, or absolute
    day2/gate/0007.jpg,9,12,query

pid and camid are whole numbers; -1 is junk and 0 a distractor of the gallery. Roles are train, query, gallery, valid_query and
valid_gallery. Columns attribute_NAME, as many as there are, hold words such as red or backpack, or nothing where unknown; the words of
a column in alphabetical order are the values that an attribute head tells apart. Without roles a share of the identities is the test,
another the validation, and in each one picture a camera asks.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from kerasdl.data.attributes import PREFIX, attribute_names
from kerasdl.data.identities import ROLES, Sightings, held_out_people, identity_splits, query_and_gallery
from kerasdl.data.splits import Splits

COLUMNS = ("path", "pid", "camid")


def reid_list(path: str, height: int = 128, width: int = 64, valid: float = 0.1, test: float = 0.5, seed: int = 0) -> Splits:
    """People from a CSV table with the columns path, pid, camid and perhaps role and attributes.

    Args:
        path: the table, UTF-8.
        height, width: of the pictures in pixels; they are resized to it, not cut.
        valid: share of the training identities that is held out where no row is a valid_query.
        test: share of all identities that is the test where there are no roles; half of them in Market-1501.
        seed: of those draws.

    Raises ValueError for a missing table or column, a bad row (with its line), and as `identity_splits`.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"reid_list needs a CSV file with the columns {', '.join(COLUMNS)}. Received: {path!r}")
    parts = _parts(file)
    if "all" in parts:
        parts = _with_test(parts["all"], test, seed)
    return identity_splits(parts, file.stem, "a list of pictures with pid and camid", (height, width), valid, seed)


def _parts(file: Path) -> dict[str, Sightings]:
    """Sightings by role; under "all" where there are no roles."""
    rows: dict[str, list[tuple[str, int, int]]] = {}
    words: dict[str, dict[str, list[str]]] = {}
    with file.open(encoding="utf-8-sig", newline="") as opened:
        table = csv.DictReader(opened)
        columns = table.fieldnames or ()
        if missing := [name for name in COLUMNS if name not in columns]:
            raise ValueError(f"{file.name} needs the columns {', '.join(COLUMNS)}. Received: {list(columns)}, without {', '.join(missing)}")
        for row in table:
            role = row["role"] if "role" in columns else "all"
            if "role" in columns and role not in ROLES:
                raise ValueError(f"a role is one of {', '.join(ROLES)}. Received: {role!r} in line {table.line_num} of {file.name}")
            rows.setdefault(role, []).append(_sighting(row, file, table.line_num))
            for name in attribute_names(columns):
                words.setdefault(role, {}).setdefault(name, []).append((row[PREFIX + name] or "").strip())
    needed = ("train", "query", "gallery") if "role" in columns else ("all",)
    if lacking := [role for role in needed if role not in rows]:
        raise ValueError(f"{file.name} needs rows of {', '.join(needed)}. Received: none of {', '.join(lacking)}")
    if ("valid_query" in rows) != ("valid_gallery" in rows):
        raise ValueError(f"{file.name} needs both valid_query and valid_gallery, or neither. Received: {sorted(rows)}")
    return {role: Sightings.of(some, words.get(role)) for role, some in rows.items()}


def _sighting(row: dict[str, str], file: Path, line: int) -> tuple[str, int, int]:
    try:
        pid, camid = int(row["pid"]), int(row["camid"])
    except (TypeError, ValueError):
        raise ValueError(
            f"pid and camid are whole numbers. Received: {row['pid']!r} and {row['camid']!r} in line {line} of {file.name}"
        ) from None
    if not row["path"]:
        raise ValueError(f"a row needs a path. Received: none in line {line} of {file.name}")
    return str(file.parent / Path(row["path"]).expanduser()), pid, camid


def _with_test(everybody: Sightings, share: float, seed: int) -> dict[str, Sightings]:
    """A share of the identities, and whoever is nobody, become query and gallery."""
    out = held_out_people(everybody.pids, share, seed) | (everybody.pids < 1)
    test = everybody[np.flatnonzero(out)]
    query, gallery = query_and_gallery(test.pids, test.camids, seed)
    return {"train": everybody[np.flatnonzero(~out)], "query": test[query], "gallery": test[gallery]}
