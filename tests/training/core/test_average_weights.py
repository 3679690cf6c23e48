"""The mean of weights, name by name."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.core.average_weights import average_states, main


def test_each_tensor_is_the_mean_of_its_namesakes(tmp_path):
    files = [str(tmp_path / f"{value}.safetensors") for value in (1, 2, 6)]
    for file, value in zip(files, (1.0, 2.0, 6.0), strict=True):
        save_file({"a": torch.full((2, 3), value).half(), "b": torch.tensor([-value])}, file)
    main([*files, "--out", str(tmp_path / "new" / "mean.safetensors")])
    found = load_file(tmp_path / "new" / "mean.safetensors")
    assert found["a"].dtype == torch.float16 and (found["a"] == 3).all() and found["b"].item() == -3


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="different networks"):
        average_states([{"a": torch.ones(1)}, {"b": torch.ones(1)}])
