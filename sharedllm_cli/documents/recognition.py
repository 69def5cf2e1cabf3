"""Text of pages that are pictures (OCR), by rapidocr: the extra `ocr`, whose wheel holds its models.

A picture becomes lines with places, and these the pieces of a page, so that columns and tables are put in the order
of reading as a PDF's own text is (pdf/page_text.py). Runs where documents are read, in a process with limits. Nothing
is fetched: the models are named by their files.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharedllm_cli.documents.pdf.page_pieces import PagePieces, Piece
from sharedllm_cli.documents.pdf.page_text import page_text
from sharedllm_cli.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

LIBRARY = "rapidocr"
MISSING = "--ocr needs a library that is not installed"
HINT = "pip install 'sharedllm-cli[ocr]'"
DOTS = 170
"""Pixels an inch at which a page is drawn: letters of 10 points are 24 pixels high, as the models know them."""
LONGEST_SIDE = 4000
"""Pixels of a page's longer side; larger pages are drawn smaller."""
LONGEST_PHOTOGRAPH = 2600
"""The same of an image file, which has more pixels than its letters need."""
LEAST_SCORE = 0.75
"""Where lines are less sure than this on average, the page may stand on its head."""
_TALL = 1.5
"""A box as many times higher than wide is a line that runs upwards."""
_SIZE, _BASELINE = 0.72, 0.2
"""Shares of a box's height: the size of its letters, and what is below their baseline."""
_GAP = 1.2
"""A gap between words of more than this share of their size parts cells, or columns."""


Corners = tuple[tuple[float, float], ...]
"""Of a box in pixels: upper left, upper right, lower right and lower left."""


@dataclass(frozen=True)
class Line:
    """A line as recognised: its text, its box, how sure it is (0 to 1), and its words with their boxes."""

    text: str
    corners: Corners
    score: float
    words: tuple[tuple[str, Corners], ...] = ()

    @property
    def wide(self) -> float:
        return math.dist(self.corners[0], self.corners[1])

    @property
    def high(self) -> float:
        return math.dist(self.corners[0], self.corners[3])


def require() -> None:
    """UsageError with the way to install it where the library is missing."""
    if util.find_spec(LIBRARY) is None:
        raise UsageError(MISSING, hint=HINT)


def version() -> str:
    """What recognises, with its version."""
    return f"{LIBRARY} {metadata.version(LIBRARY)}"


def recognised(image: Image) -> str:
    """The text of a picture in the order of reading; empty where it shows none.

    Raises ResourceError where there is too little memory, and UsageError where the library is missing.
    """
    try:
        lines, size = _upright(image.convert("RGB"))
        return page_text(PagePieces(list(_pieces(lines, size)))).text
    except MemoryError as failure:
        raise ResourceError("too little memory to recognise text", hint="a larger --read-memory may help") from failure


def added(text: str, known: str) -> str:
    """The lines of a recognised text that a page's own text does not have."""
    own = _letters(known)
    return "\n".join(line for line in text.splitlines() if not line.strip() or _letters(line) not in own)


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _upright(image: Image) -> tuple[list[Line], tuple[int, int]]:
    """The lines of a picture, turned so that they can be read, and its size then."""
    lines = _lines(image)
    length = sum(len(line.text) for line in lines)
    if 2 * sum(len(line.text) for line in lines if _box_is_tall(line)) > length:
        found = [_turned(image, turn) for turn in (90, 270)]
    elif lines and _sureness(lines) < LEAST_SCORE:
        found = [(lines, image.size), _turned(image, 180)]
    else:
        found = [(lines, image.size)]
    return max(found, key=lambda one: _sureness(one[0]))


def _turned(image: Image, turn: int) -> tuple[list[Line], tuple[int, int]]:
    turned = image.rotate(turn, expand=True)
    return _lines(turned), turned.size


def _box_is_tall(line: Line) -> bool:
    xs, ys = zip(*line.corners, strict=True)
    return len(line.text) > 2 and max(ys) - min(ys) > _TALL * (max(xs) - min(xs))


def _sureness(lines: Sequence[Line]) -> float:
    """How sure the lines are on average, a long one counting more."""
    length = sum(len(line.text) for line in lines)
    return sum(line.score * len(line.text) for line in lines) / length if length else 0.0


def _lines(image: Image) -> list[Line]:
    found = _engine()(np.asarray(image)[:, :, ::-1].copy(), return_word_box=True)
    if found.boxes is None or found.txts is None or found.scores is None:
        return []
    return [
        Line(str(text), _corners(box), float(score), tuple((str(word), _corners(place)) for word, _, place in words))
        for box, text, score, words in zip(found.boxes, found.txts, found.scores, found.word_results, strict=True)
        if str(text).strip()
    ]


def _corners(box: Any) -> Corners:
    return tuple((float(x), float(y)) for x, y in box)


@cache
def _engine() -> Any:
    """The library with its models loaded; UsageError where it is missing."""
    require()
    from rapidocr import RapidOCR

    folder = Path(str(util.find_spec(LIBRARY).origin)).parent / "models"  # type: ignore[union-attr]
    (finds,), (reads,) = (sorted(folder.glob(f"*_{part}_*.onnx")) for part in ("det", "rec"))
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.max_side_len": LONGEST_SIDE,
            "Global.use_cls": False,
            "Det.model_path": str(finds),
            "Rec.model_path": str(reads),
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _pieces(lines: Sequence[Line], size: tuple[int, int]) -> Iterator[Piece]:
    """Lines as the pieces of a page in points, without the angle at which it was scanned."""
    if not lines:
        return
    angle = _angle(lines)
    cosine, sine = math.cos(angle), math.sin(angle)
    usual = statistics.median(line.high for line in lines)
    scale = 72 / DOTS
    for line in lines:
        left, foot = line.corners[0], line.corners[3]
        # Boxes of one size of letters differ by the letters that stand out above and below.
        high = usual if 0.75 < line.high / usual < 1.3 else line.high
        # y grows upwards from here on.
        y = (size[1] - (foot[1] * cosine - foot[0] * sine) + _BASELINE * line.high) * scale
        for order, (text, first, last) in enumerate(_runs(line, _GAP * _SIZE * high)):
            x0, x1 = (scale * (x * cosine + left[1] * sine) for x in (first, last))
            yield Piece(text, x0, max(x1, x0), y, _SIZE * high * scale, 0, order)


def _runs(line: Line, gap: float) -> list[tuple[str, float, float]]:
    """A line cut at gaps between its words: text, left and right of each part.

    A line's box may reach into the gap between columns, which those of its words do not.
    """
    if not line.words or "".join(word for word, _ in line.words) != "".join(line.text.split()):
        return [(line.text, line.corners[0][0], line.corners[1][0])]
    runs: list[tuple[str, float, float]] = []
    start = 0
    for word, box in line.words:
        found = line.text.find(word, start)
        left, right, end = box[0][0], box[1][0], max(found, start) + len(word)
        between = line.text[start:end]
        if runs and (left - runs[-1][2] < gap or found < 0):
            runs[-1] = (runs[-1][0] + between, runs[-1][1], right)
        else:
            runs.append((between.lstrip(), left, right))
        start = end
    return runs


def _angle(lines: Sequence[Line]) -> float:
    """The angle of the lines to the page in radians, clockwise: the median, a long line counting more."""
    angles = sorted(
        (math.atan2(line.corners[1][1] - line.corners[0][1], line.corners[1][0] - line.corners[0][0]), line.wide)
        for line in lines
    )
    half, passed = sum(wide for _, wide in angles) / 2, 0.0
    for angle, wide in angles:
        passed += wide
        if passed >= half:
            return angle
    return 0.0
