"""A CT phantom of the abdomen, drawn from ellipses in Hounsfield units."""

import numpy as np
from scipy import ndimage


def draw_abdomen(side: int, pixel: float, seed: int) -> np.ndarray:
    """Return (side, side) float32 HU without noise, rows to the back and columns to the patient's left, after contrast.

    Borders are as sharp as half a pixel; `seed` moves organs, vessels and lesions a little.
    """
    rng = np.random.default_rng(seed)
    fine = 2 * side
    y, x = (np.mgrid[:fine, :fine] - (fine - 1) / 2) * (pixel / 2)  # mm; y to the back, x to the patient's left
    bend_y, bend_x = (ndimage.gaussian_filter(rng.standard_normal((fine, fine)), 40) for _ in range(2))
    hu = np.where(np.abs(y - 124) < 2.5, np.float32(-250), np.float32(-1000))  # the table
    y, x = y + 260 * bend_y, x + 260 * bend_x  # nothing in a body is an ellipse

    def ellipse(cx: float, cy: float, rx: float, ry: float, turn: float = 0.0) -> np.ndarray:
        a = np.deg2rad(turn)
        u, v = (x - cx) * np.cos(a) + (y - cy) * np.sin(a), (y - cy) * np.cos(a) - (x - cx) * np.sin(a)
        return (u / rx) ** 2 + (v / ry) ** 2 < 1

    grain = ndimage.gaussian_filter(rng.standard_normal((fine, fine)), 6)
    grain /= grain.std()
    hu[ellipse(0, 0, 160, 112)] = 40  # skin
    hu[ellipse(0, 0, 158, 110)] = -105  # fat below it
    wall = ellipse(0, 2, 140, 92)
    hu[wall] = 55  # muscle
    cavity = ellipse(0, -6, 128, 78)
    hu[cavity] = -98
    for way in (-1, 1):  # muscles along the spine and psoas
        hu[ellipse(way * 30, 74, 22, 17, way * 10)] = 58
        hu[ellipse(way * 34, 42, 13, 17)] = 60
        for angle in (20, 52, 84, 118, 150):  # ribs
            t = np.deg2rad(angle)
            cx, cy = way * 134 * np.sin(t), -86 * np.cos(t)
            rib = (cx, cy, 10, 4.2, float(np.rad2deg(np.arctan2(86 * np.sin(t), way * 134 * np.cos(t)))))
            hu[ellipse(*rib)] = 650
            hu[ellipse(*rib[:2], 8, 2.4, rib[4])] = 180
    hu[ellipse(0, 50, 24, 19)] = 620  # vertebra: cortex, marrow, canal, processes
    hu[ellipse(0, 50, 22, 17)] = 190 + 40 * np.clip(grain, -2, 2)[ellipse(0, 50, 22, 17)]
    hu[ellipse(0, 74, 5, 14)] = 480
    hu[ellipse(0, 70, 10, 8)] = 35
    liver = (ellipse(-62, -12, 62, 58, 12) | ellipse(-18, -34, 46, 26, -12)) & cavity
    hu[liver] = 112 + 2.0 * grain[liver]
    hu[ellipse(88, 16, 28, 40, -18) & cavity] = 124  # spleen
    for way in (-1, 1):  # kidneys
        kidney = (way * 66, 34, 22, 29, way * -22)
        hu[ellipse(*kidney)] = 178
        hu[ellipse(*kidney[:2], 14, 20, kidney[4])] = 128
        hu[ellipse(way * 60, 34, 7, 10)] = -60
    hu[ellipse(52, -36, 38, 26, 15) & cavity] = 45  # stomach: wall, fluid, air
    hu[ellipse(52, -36, 35, 23, 15) & cavity] = 12
    hu[ellipse(52, -36, 35, 23, 15) & (y < -44) & cavity] = -950
    hu[ellipse(22, 6, 34, 9, -14)] = 102  # pancreas
    for _ in range(9):  # loops of bowel
        cx, cy, r = rng.uniform(-20, 50), rng.uniform(-10, 24), rng.uniform(6, 10)
        if not (hu[ellipse(cx, cy, r, r)] > -80).any():
            hu[ellipse(cx, cy, r, r)] = 70
            hu[ellipse(cx, cy, r - 2.5, r - 2.5)] = 20 if rng.random() < 0.7 else -850
    hu[ellipse(8, 22, 11, 11)] = 215  # aorta with calcium, vena cava
    hu[ellipse(17, 26, 1.6, 2.4)] = 800
    hu[ellipse(-18, 22, 12, 9)] = 150
    vessels = liver & (np.abs(hu - 112) < 15)
    trunk = [(-22.0, -4.0, 7.0, 200.0)]
    while trunk:  # vessels of the liver, each dividing in two
        cx, cy, radius, direction = trunk.pop()
        step = min(2.2, radius)
        for _ in range(round(rng.uniform(13, 24) / step)):
            i, j = (int(np.clip(round(c / (pixel / 2) + fine / 2), 60, fine - 60)) for c in (cy, cx))
            near = np.s_[i - 60 : i + 60, j - 60 : j + 60]  # the bend moves things by less
            hu[near][((x[near] - cx) ** 2 + (y[near] - cy) ** 2 < radius**2) & vessels[near]] = 168
            cx, cy = cx + step * np.cos(np.deg2rad(direction)), cy + step * np.sin(np.deg2rad(direction))
            direction += rng.normal(0, 7)
        if radius > 0.9:
            trunk += [(cx, cy, radius * 0.76, direction + turn) for turn in (-rng.uniform(18, 40), rng.uniform(18, 40))]
    for radius, value in ((7.0, 78), (5.0, 86), (3.5, 68), (2.5, 60), (9.0, 96)):  # lesions, faint and small
        cx, cy = rng.uniform(-100, -45), rng.uniform(-45, 25)
        spot = ellipse(cx, cy, radius, radius * rng.uniform(0.8, 1.2)) & liver
        hu[spot] = value
    coarse = ndimage.gaussian_filter(hu, 1.0).reshape(side, 2, side, 2).mean(axis=(1, 3))
    return coarse.astype(np.float32)
