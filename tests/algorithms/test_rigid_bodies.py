"""Parts of a field are made rigid, under what follows it too, and the field does not fold around them."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from medapp.algorithms.rigid_bodies import RigidBodies

SIZE = (64, 60, 56)


def bent(scale: float) -> torch.Tensor:
    noise = torch.randn(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(2))
    return scale * F.interpolate(noise, SIZE, mode="trilinear", align_corners=True)[0]


def residual(points: np.ndarray, moved: np.ndarray) -> float:
    """How far the points are from having moved as a rigid body, at most."""
    a, b = points - points.mean(0), moved - moved.mean(0)
    return float(np.linalg.norm(Rotation.align_vectors(b, a)[0].apply(a) - b, axis=1).max())


def test_each_body_is_rigid_and_nothing_folds():
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij"), -1)
    balls = [np.linalg.norm(index - centre, axis=-1) < 7 for centre in ((16, 30, 28), (48, 30, 28))]
    after = np.diag([1.1, 0.9, 1.05, 1])
    after[:3, 3] = (2, -3, 1)
    flow = bent(2.0)
    held = RigidBodies(balls[0] | balls[1], after, torch.device("cpu")).hold(flow)
    places = np.moveaxis(held.numpy(), 0, -1) + index
    for ball in balls:
        moved = places[ball] @ after[:3, :3].T + after[:3, 3]
        assert (
            residual(index[ball], moved)
            < 1e-3
            < 0.3
            < residual(index[ball], (np.moveaxis(flow.numpy(), 0, -1) + index)[ball])
        )
    slopes = np.stack([np.stack(np.gradient(part)) for part in held.numpy()]).transpose(2, 3, 4, 0, 1) + np.eye(3)
    assert np.linalg.det(slopes).min() > 0
    far = np.minimum(*(np.linalg.norm(index - centre, axis=-1) for centre in ((16, 30, 28), (48, 30, 28)))) > 30
    torch.testing.assert_close(held[:, torch.tensor(far)], flow[:, torch.tensor(far)])


def test_nothing_to_hold_changes_nothing():
    flow = bent(1.0)
    crumbs = np.zeros(SIZE, bool)
    crumbs[30, 30, 30] = True
    assert torch.equal(RigidBodies(crumbs, np.eye(4), torch.device("cpu")).hold(flow), flow)
