"""Source images in the colours of the target: the labelled data come to look like the unlabelled.

Reinhard et al., "Color Transfer between Images" (IEEE CG&A 2001): in Lab, mean and standard
deviation of each channel are made those of a reference. Yang and Soatto, "FDA" (CVPR 2020): the
amplitudes of the lowest frequencies are.
"""

import cv2
import numpy as np


def _lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)


def lab_statistics(image: np.ndarray) -> np.ndarray:
    lab = _lab(image)
    return np.stack([lab.mean((0, 1)), lab.std((0, 1))])


def match_moments(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    lab = _lab(image)
    mean, spread = lab.mean((0, 1)), lab.std((0, 1))
    gain = reference[1] / np.maximum(spread, 1)
    moved = (lab - mean) * gain + reference[0]
    return cv2.cvtColor(np.clip(np.round(moved), 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def histograms(image: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(image[..., c].ravel(), minlength=256) for c in range(3)]).astype(
        np.float32
    )


def match_histograms(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    out = np.empty_like(image)
    own = histograms(image)
    for c in range(3):
        want = np.cumsum(reference[c]) / reference[c].sum()
        has = (np.cumsum(own[c]) - own[c] / 2) / own[c].sum()
        table = np.interp(has, want, np.arange(256))
        out[..., c] = np.round(table).astype(np.uint8)[image[..., c]]
    return out


def match_fourier(image: np.ndarray, reference: np.ndarray, beta: float = 0.02) -> np.ndarray:
    f = np.fft.fftshift(np.fft.fft2(image.astype(np.float32), axes=(0, 1)), axes=(0, 1))
    g = np.fft.fftshift(np.fft.fft2(reference.astype(np.float32), axes=(0, 1)), axes=(0, 1))
    h, w = image.shape[:2]
    b = max(1, int(beta * min(h, w)))
    y, x = h // 2, w // 2
    part = np.s_[y - b : y + b + 1, x - b : x + b + 1]
    amplitude = np.abs(f)
    amplitude[part] = np.abs(g[part])
    f = amplitude * np.exp(1j * np.angle(f))
    back = np.fft.ifft2(np.fft.ifftshift(f, axes=(0, 1)), axes=(0, 1)).real
    return np.clip(np.round(back), 0, 255).astype(np.uint8)


METHODS = {
    "moments": (lab_statistics, match_moments),
    "histogram": (histograms, match_histograms),
    "fourier": (lambda image: image, match_fourier),
}
