"""Your own pictures with captions in a table: `captions:FILE.csv`.

    path,caption,split                                    split may be left out
    holiday/0001.jpg,"Two boats, one of them red.",train   paths from the table's own folder, or absolute
    holiday/0001.jpg,A red boat beside a white one.,train  a line for each caption of a picture

Splits are train, valid and test. Without the column, or without lines of valid or test, shares of the pictures are drawn.
"""

from __future__ import annotations

import csv
from pathlib import Path

from kerasdl.data.captions import PARTS, Captioned, caption_splits
from kerasdl.data.splits import Splits

COLUMNS = ("path", "caption")


def caption_table(
    path: str, side: int = 224, least: int = 1, longest: int = 30, valid: float = 0.1, test: float = 0.1, seed: int = 0
) -> Splits:
    """Pictures from a CSV table with the columns path, caption and perhaps split.

    Args:
        path: the table, UTF-8.
        side, least, longest: as `caption_splits`.
        valid, test: shares of the pictures where the table names no such split.
        seed: of that draw.

    Raises ValueError for a missing table or column, a bad row (with its line), a picture in two splits, and as `caption_splits`.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"captions need a CSV file with the columns {', '.join(COLUMNS)}. Received: {path!r}")
    return caption_splits(_parts(file), file.stem, "a table of pictures with captions", side, least, longest, valid, test, seed)


def _parts(file: Path) -> dict[str, Captioned]:
    found: dict[str, dict[str, list[str]]] = {}
    with file.open(encoding="utf-8-sig", newline="") as opened:
        table = csv.DictReader(opened)
        columns = table.fieldnames or ()
        if missing := [name for name in COLUMNS if name not in columns]:
            raise ValueError(f"{file.name} needs the columns {', '.join(COLUMNS)}. Received: {list(columns)}, without {', '.join(missing)}")
        for row in table:
            part = row["split"] if "split" in columns else "train"
            if part not in PARTS:
                raise ValueError(f"a split is one of {', '.join(PARTS)}. Received: {part!r} in line {table.line_num} of {file.name}")
            if not row["path"] or row["caption"] is None:
                raise ValueError(f"a row needs a path and a caption. Received: {dict(row)} in line {table.line_num} of {file.name}")
            picture = str(file.parent / Path(row["path"]).expanduser())
            found.setdefault(part, {}).setdefault(picture, []).append(row["caption"])
    if "train" not in found:
        raise ValueError(f"{file.name} needs rows of train. Received: rows of {', '.join(found) or 'nothing'}")
    return {part: Captioned.of(captions) for part, captions in found.items()}
