"""Light, weather, lens and sensor: the image of a painted canvas."""

import cv2
import numpy as np

from scalewise.data.streets.camera import FAR, NEAR, Camera
from scalewise.data.streets.canvas import Canvas, Surfaces
from scalewise.data.streets.materials import (
    COLOURS,
    MATERIALS,
    TEXEL,
    TEXTURE_NUMBER,
    TILE,
    palettes,
    texture_tiles,
)


def render(
    canvas: Canvas,
    surfaces: Surfaces,
    surface_of_pixel: np.ndarray,
    rng: np.random.Generator,
    style: dict[str, float],
) -> np.ndarray:
    """Return the image, uint8 (height, width, 3)."""
    camera = canvas.camera
    variety = style["variety"] * rng.uniform(-1, 1, 4)
    azimuth = rng.uniform(-1.2, 1.2) + np.pi * (rng.random() < 0.3)
    illumination = float(np.clip(style["illumination"] + 0.25 * variety[0], 0, 1))
    # The higher the illumination the lower the sun; with none there is only the sky's own light.
    elevation = np.deg2rad(65 - 35 * illumination)
    flat = np.cos(elevation)
    sun = np.array([np.sin(azimuth) * flat, np.sin(elevation), -np.cos(azimuth) * flat], np.float32)
    tint = np.array([1.0, 1.0, 1.0]) + (style["warmth"] + 0.04 * variety[1]) * np.array(
        [1.0, 0.1, -1.0]
    )
    exposure = style["exposure"] * (1 + 0.15 * variety[2])

    colours = _surface_colours(surfaces, sun, illumination, style)
    colours = (colours * (tint * exposure)).astype(np.float32)
    image = colours.take(canvas.pixels, axis=0)
    image = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)

    ray_x, ray_y = camera.rays()
    plane = surfaces.plane.take(surface_of_pixel, axis=1)
    slant = plane[0] * ray_x + plane[1] * ray_y[:, None] + plane[2]
    # Edges of a surface may look beyond its plane; such pixels count as far away.
    depth = np.clip(plane[3] / np.where(np.abs(slant) < 1e-4, 1e-4, slant), NEAR, FAR)
    brightness = 1 + style["texture"] * _texture(surfaces, surface_of_pixel, plane, depth, camera)
    on_ground = plane[1] > 0.5
    darkness = style["shadow"] * illumination * 0.8
    if darkness > 0:
        brightness *= 1 - darkness * _shadows(canvas, sun) * on_ground
    image *= brightness[..., None]

    fog = style["fog"] * (1 + 0.4 * variety[3])
    if fog > 0:
        clear = np.exp(depth * (-max(fog, 0.0) / 30))[..., None]
        haze = (np.array([0.74, 0.77, 0.8]) * tint * exposure).astype(np.float32)
        image -= haze
        image *= clear
        image += haze
    return _expose(image, rng, style)


def _surface_colours(
    surfaces: Surfaces, sun: np.ndarray, illumination: float, style: dict[str, float]
) -> np.ndarray:
    """Return (surface, 3): colours in the light of the day, 0..1 and above."""
    both = palettes()
    palette = both[0] + style["palette"] * (both[1] - both[0])
    variant = surfaces.variant
    colours = palette[surfaces.material, (variant * COLOURS).astype(np.intp) % COLOURS]
    # Digits of the variant that the choice above did not use: the same for all faces of a thing.
    rest = (variant * 613.0) % 1.0 * 2 - 1
    jitter = np.array([m.jitter for m in MATERIALS.values()], np.float32)[surfaces.material]
    grey = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    colours = grey[:, None] + style["saturation"] * (colours - grey[:, None])
    facing = np.maximum(surfaces.normal @ sun, 0.0)
    # An upright sky light and a sun that add up to about 1 on the ground.
    sky_light = (0.85 - 0.3 * illumination) * (0.85 + 0.15 * surfaces.normal[:, 1])
    light = sky_light + 0.75 * illumination * facing + 0.12 * (1 - illumination)
    glows = np.array([m.glows for m in MATERIALS.values()])[surfaces.material]
    light = np.where(glows, 1.0, light) * surfaces.shade * (1 + jitter * rest)
    return np.clip(colours, 0, 1) * light[:, None]


def _texture(
    surfaces: Surfaces,
    surface_of_pixel: np.ndarray,
    plane: np.ndarray,
    depth: np.ndarray,
    camera: Camera,
) -> np.ndarray:
    """Return float32 (height, width): relative brightness, about 0, in the world's own scale."""
    materials = list(MATERIALS.values())
    kind = np.array([TEXTURE_NUMBER[m.texture] for m in materials])[surfaces.material]
    texel = np.array([TEXEL[m.texture] for m in materials], np.float32)[surfaces.material]
    contrast = np.array([m.contrast for m in materials], np.float32)[surfaces.material]
    ray_x, ray_y = camera.rays()
    per_texel = depth / texel.take(surface_of_pixel)
    along = np.where(plane[0] > 0.5, per_texel, per_texel * ray_x)
    up = np.where(plane[1] > 0.5, per_texel, per_texel * ray_y[:, None])
    tiles = texture_tiles().reshape(-1)
    place = kind.take(surface_of_pixel) * (TILE * TILE)
    place += (np.floor(up).astype(np.intp) & (TILE - 1)) * TILE
    place += np.floor(along).astype(np.intp) & (TILE - 1)
    # A pixel that covers many texels sees their mean: the contrast falls with distance.
    covered = per_texel / camera.focal
    return (
        tiles.take(place) * contrast.take(surface_of_pixel) / np.sqrt(1 + covered * covered * 0.3)
    )


def _shadows(canvas: Canvas, sun: np.ndarray) -> np.ndarray:
    """Return float32 (height, width), 0..1: how much the sun is hidden from the ground."""
    camera = canvas.camera
    mask = np.zeros((camera.height, camera.width), np.uint8)
    if not canvas.casters:
        return mask.astype(np.float32)
    feet = np.array([foot for foot, _ in canvas.casters])
    heights = np.minimum(np.array([high for _, high in canvas.casters]), 12.0)
    # A shadow reaches away from the sun; 0.6 m at least, so that things stand on the ground.
    away = -(sun[[0, 2]] / max(float(sun[1]), 0.2))[None, None] * heights[:, None, None]
    corners = np.concatenate([feet, feet + away], 1)
    points = np.stack(
        [corners[..., 0], np.zeros(corners.shape[:2]), np.maximum(corners[..., 1], NEAR)], -1
    )
    pixels = np.rint(np.clip(camera.project(points) - 0.5, -4000, 8000) * 8).astype(np.int32)
    for outline in pixels:
        cv2.fillConvexPoly(mask, cv2.convexHull(outline), 255, cv2.LINE_8, 3)
    soft = cv2.GaussianBlur(mask, (0, 0), max(camera.width / 250, 0.3))
    return soft.astype(np.float32) / 255


def _expose(image: np.ndarray, rng: np.random.Generator, style: dict[str, float]) -> np.ndarray:
    """Return uint8: what lens and sensor make of the light."""
    height, width = image.shape[:2]
    sigma = style["blur"] * width / 192
    if sigma > 0:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    np.clip(image, 0, 1, out=image)
    if style["gamma"] != 1:
        image = image ** np.float32(style["gamma"])
    image *= 255
    if style["noise"] > 0:
        grain = rng.standard_normal((height, width, 3), np.float32)
        grain *= style["noise"]
        image += grain
    np.clip(image, 0, 255, out=image)
    return np.rint(image, out=image).astype(np.uint8)
