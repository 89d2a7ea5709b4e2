"""What one file of a data set holds, as it is: facts that no setting has a say in."""

import json
from dataclasses import asdict, dataclass

from PIL import Image

from scalewise.data import reading


@dataclass(frozen=True)
class Facts:
    """width and height in pixels and mode of a file; blank: an image of one colour throughout; ids:
    raw label id -> pixels, of a label; error: why the file cannot be decoded, else empty; damaged:
    whether the error is of this one file, rather than of the kind of file."""

    width: int = 0
    height: int = 0
    mode: str = ""
    blank: bool = False
    ids: tuple[tuple[int, int], ...] = ()
    error: str = ""
    damaged: bool = False

    def text(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_text(text: str) -> "Facts":
        """Raises ValueError or TypeError when the text is none of `text()`."""
        content = json.loads(text)
        content["ids"] = tuple((i, n) for i, n in content["ids"])
        return Facts(**content)


def _failed(error: reading.UnreadableImage) -> Facts:
    return Facts(error=str(error), damaged=not isinstance(error, reading.WrongKind))


def image_facts(content: bytes) -> Facts:
    """Decode an image, given by its bytes."""
    try:
        pixels, mode = reading.decode_image(content)
    except reading.UnreadableImage as error:
        return _failed(error)
    extremes = Image.fromarray(pixels).getextrema()
    height, width = pixels.shape[:2]
    return Facts(width, height, mode, blank=all(low == high for low, high in extremes))


def label_facts(content: bytes) -> Facts:
    """Decode a label, given by its bytes."""
    try:
        ids, mode = reading.decode_label(content)
    except reading.UnreadableImage as error:
        return _failed(error)
    height, width = ids.shape
    counts = enumerate(Image.fromarray(ids).histogram())
    return Facts(width, height, mode, ids=tuple((i, n) for i, n in counts if n))
