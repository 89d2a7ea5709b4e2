"""`patches.h5`: the crops of the selected images with what the network said of them.

Datasets, n patches whose largest crop is (h, w) by side, training size (H, W):

    image_id  text (n,)             image that the crop was cut from
    position  int32 (n, 2)          top and left of the crop, in working-size pixels
    size      int32 (n, 2)          height and width of the crop, at most (h, w)
    place     int32 (n, 4)          where in (H, W) the scaled crop comes: top, left, height, width
    image     uint8 (n, h, w, 3)    the crop, RGB, at its own size (scaled on reading): each pixel
                                    minus the one left of it, modulo 256
    predicted uint8 (n, h, w)       class predicted at the original scale
    entropy   float16 (n, h, w)     its entropy, normalised per image and predicted class; infinite
                                    where views of the image disagree
    label     uint8 (n, H, W)       argmax of the probabilities scaled to the place, unfiltered

The place is all of (H, W) but for patches that are scaled down: there `label` is 255 around it.
A crop fills the upper left corner of its (h, w); outside of it `predicted` is 255 and `image` and
`entropy` are 0. Padding compresses to almost nothing on disk, but writing and reading a patch pass
over h * w pixels whatever its size: crops of scales 1 to 4 cost as much time and memory as if all
of them were whole images.

All but the first four are deflated, a chunk for each patch, as the HDF5 library's own filter would,
so that it can read them. But it would look for repetitions far back, of which photographs and
entropies have few; in maps of classes most values repeat the one before. To look no further than
that takes half the time, and less room for maps. Differences, as in PNG files, make up for it in
images, and the shuffle filter (the two bytes of all values apart) in entropies.

The thresholds are not applied here: they may change without a new pass of the network.
Group `claim` holds the paper's claim measured on a sample (mean entropy in nats per class at the
original scale and on the scaled-up crop, and how often both agree).
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from scalewise.artifacts import hdf5
from scalewise.taxonomy import IGNORE

FORMAT = "scalewise patches 4"
_FIELDS = {
    "position": np.int32,
    "size": np.int32,
    "place": np.int32,
    "image": np.uint8,
    "predicted": np.uint8,
    "entropy": np.float16,
    "label": np.uint8,
}
# n patches, crops of h x w, training size of y x x
_LAYOUT = {
    "image_id": (None, ("n",)),
    "position": (np.int32, ("n", 2)),
    "size": (np.int32, ("n", 2)),
    "place": (np.int32, ("n", 4)),
    "image": (np.uint8, ("n", "h", "w", 3)),
    "predicted": (np.uint8, ("n", "h", "w")),
    "entropy": (np.float16, ("n", "h", "w")),
    "label": (np.uint8, ("n", "y", "x")),
}
MAX_PIXELS = 1 << 26  # of one patch: more than any network here is trained on
# fields at the crop's own size -> what is outside of it
_PADDING = {"image": 0, "predicted": IGNORE, "entropy": 0}
_PLAIN = ("position", "size", "place")  # too small to be packed
_TOGETHER = 256  # patches of which these lie together: the library's book of chunks grows with them


@dataclass(frozen=True)
class Patches:
    """A batch of patches; arrays as the module says, but `image`, `predicted` and `entropy` are one
    array for each patch, at its own size, and `place` may be None: all of (H, W)."""

    image_id: list[str]
    position: np.ndarray
    image: Sequence[np.ndarray]
    predicted: Sequence[np.ndarray]
    entropy: Sequence[np.ndarray]
    label: np.ndarray
    place: np.ndarray | None = None


class PatchWriter:
    """Appends batches of patches to an open file."""

    def __init__(
        self,
        file: h5py.File,
        count: int | None,
        crop: tuple[int, int],
        size: tuple[int, int],
        check: Callable[[], None],
    ):
        (h, w), (height, width) = crop, size
        self._check = check
        self._grows = count is None
        count, most = count or 0, None if self._grows else count
        shapes = {
            "position": (2,),
            "size": (2,),
            "place": (4,),
            "image": (h, w, 3),
            "predicted": (h, w),
            "entropy": (h, w),
            "label": (height, width),
        }
        file.attrs["format"] = FORMAT
        self._ids = file.create_dataset(
            "image_id", (count,), dtype=h5py.string_dtype(), maxshape=(most,)
        )
        chunked = self._grows or count > 0
        together = _TOGETHER if self._grows else min(_TOGETHER, count)
        self._data = {
            name: file.create_dataset(
                name,
                (count, *shapes[name]),
                dtype=kind,
                maxshape=(most, *shapes[name]),
                chunks=(together if name in _PLAIN else 1, *shapes[name]) if chunked else None,
                compression="gzip" if chunked and name not in _PLAIN else None,
                shuffle=chunked and kind == np.float16,
            )
            for name, kind in _FIELDS.items()
        }
        self._claim = file.create_group("claim")
        self._written = 0

    def append(self, batch: Patches) -> None:
        """Write the next patches. Raises ValueError for a crop larger than the file's."""
        part = self._next(len(batch.image_id))
        self._ids[part] = batch.image_id
        sizes = [predicted.shape for predicted in batch.predicted]
        self._data["size"][part] = np.array(sizes, np.int32).reshape(-1, 2)
        whole = (0, 0, *self._data["label"].shape[1:])
        self._data["place"][part] = whole if batch.place is None else batch.place
        self._data["position"][part] = batch.position
        packed = {name: self._padded(name, getattr(batch, name), sizes) for name in _PADDING}
        packed["image"][:, :, 1:] -= packed["image"][:, :, :-1].copy()
        packed["label"] = np.asarray(batch.label, _FIELDS["label"])
        for name, arrays in packed.items():
            data = self._data[name]
            if arrays.shape[1:] != data.shape[1:]:
                raise ValueError(f"{name} of a patch is {arrays.shape[1:]}, not {data.shape[1:]}")
            for number, array in zip(range(part.start, part.stop), arrays, strict=True):
                data.id.write_direct_chunk((number,) + (0,) * array.ndim, _packed(array))
        self._written = part.stop
        self._check()

    def append_file(self, path: Path) -> None:
        """Copy the patches of another file, made for the same crops and size, as they are packed.

        Raises ValueError where it is another's.
        """
        with h5py.File(path) as other:
            for name, data in self._data.items():
                if _form(other[name]) != _form(data):
                    raise ValueError(f"{path}: {name} is {_form(other[name])}, not {_form(data)}")
            part = self._next(len(other["image_id"]))
            self._ids[part] = other["image_id"][:]
            for name, data in self._data.items():
                source = other[name]
                if name in _PLAIN:
                    data[part] = source[:]
                    continue
                rest = (0,) * (data.ndim - 1)
                for k in range(len(source)):
                    mask, packed = source.id.read_direct_chunk((k, *rest))
                    data.id.write_direct_chunk((part.start + k, *rest), packed, mask)
        self._written = part.stop
        self._check()

    def _next(self, count: int) -> slice:
        """Room for the next patches."""
        if self._grows:
            for data in (self._ids, *self._data.values()):
                data.resize(self._written + count, 0)
        return slice(self._written, self._written + count)

    def _padded(self, name: str, arrays: Sequence[np.ndarray], sizes: list) -> np.ndarray:
        """The arrays of one field in the upper left corners of one array."""
        shape = self._data[name].shape[1:]
        padded = np.full((len(arrays), *shape), _PADDING[name], _FIELDS[name])
        for target, array, (h, w) in zip(padded, arrays, sizes, strict=True):
            if array.shape[:2] != (h, w) or h > shape[0] or w > shape[1]:
                raise ValueError(
                    f"{name} of a patch is {array.shape[:2]}; its prediction is {(h, w)} and the "
                    f"largest crop {shape[:2]}"
                )
            target[:h, :w] = array
        return padded

    def claim(self, columns: dict[str, np.ndarray]) -> None:
        """columns: one float64 (K,) array per measured quantity."""
        for name, values in columns.items():
            self._claim[name] = values


def _form(data: h5py.Dataset) -> tuple:
    """What two data sets have in common where the chunks of one can be chunks of the other."""
    return data.shape[1:], data.dtype.name, data.compression, data.shuffle


def _packed(array: np.ndarray) -> bytes:
    """One chunk as HDF5's filters would undo it: the bytes of larger values apart (its filter
    shuffle), deflated."""
    if array.itemsize > 1:
        array = array.reshape(-1, 1).view(np.uint8).T
    packer = zlib.compressobj(strategy=zlib.Z_RLE)
    return packer.compress(np.ascontiguousarray(array)) + packer.flush()


@contextmanager
def writing(
    path: str | Path, count: int | None, crop: tuple[int, int], size: tuple[int, int]
) -> Iterator[PatchWriter]:
    """Open a new file for `count` patches, or, where that is None, for as many as there will be; it
    appears under its name when the block ends well.

    crop: the largest height and the largest width of the crops; size: the training size.
    """
    with hdf5.writing(path) as (file, check):
        writer = PatchWriter(file, count, crop, size, check)
        yield writer
        if count is not None and writer._written != count:
            raise ValueError(f"{path}: {writer._written} of {count} patches were written")


class PatchReader:
    """Reads patches by number. Raises UserError naming the file when it cannot be used: see
    `hdf5.open_file`."""

    def __init__(self, path: str | Path):
        self._path = path
        self._file, sizes = hdf5.open_file(path, FORMAT, _LAYOUT)
        for height, width in (("h", "w"), ("y", "x")):
            if sizes[height] * sizes[width] > MAX_PIXELS:
                what = f"patches of {sizes[height]} x {sizes[width]} pixels"
                raise hdf5.unfit(path, f"{what}, more than {MAX_PIXELS:,}")
        self.image_id = list(self._file["image_id"].asstr()[:])
        self._sizes = self._file["size"][:]
        if ((self._sizes < 0) | (self._sizes > self.crop)).any():
            raise hdf5.unfit(path, "a patch is larger than the crops")
        first, extent = np.split(self._file["place"][:].astype(np.int64), 2, axis=1)
        if ((first < 0) | (extent < 1) | (first + extent > (sizes["y"], sizes["x"]))).any():
            raise hdf5.unfit(path, "a crop has its place outside of the patch")

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width to which the crops are padded."""
        return self._file["image"].shape[1:3]

    def read(self, part: slice, fields: tuple[str, ...]) -> dict[str, np.ndarray]:
        """The fields of some patches, padded: where `predicted` is 255 there is no pixel."""
        return {name: self._values(name, part) for name in fields}

    def patch(self, number: int, fields: tuple[str, ...]) -> dict[str, np.ndarray]:
        """The fields of one patch, at its own size."""
        h, w = self._sizes[number]
        whole = {name: self._values(name, number) for name in fields}
        return {name: v[:h, :w] if name in _PADDING else v for name, v in whole.items()}

    def _values(self, name: str, which: slice | int) -> np.ndarray:
        values = self._file[name][which]
        return np.cumsum(values, axis=-2, dtype=np.uint8) if name == "image" else values

    def claim(self) -> dict[str, np.ndarray]:
        group = self._file["claim"]
        return {name: hdf5.dataset(self._path, group, name)[:] for name in group}
