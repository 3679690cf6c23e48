"""The words of changed prompts are said to be near the regions that they mean, and filters follow them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medapp.algorithms.region_prompts import PROMPT_TEMPLATE
from medapp.algorithms.text_conditioning import OWN_ENCODER, make_filters, tabulate_similarity
from medapp.algorithms.text_encoder import EMBEDDING_DIM, build_text_encoder, encode_prompts, make_encoder
from medapp.networks.textscf import TextSCF

WEIGHTS = Path(__file__).parents[2] / "weights"


def test_words_for_another_region_are_near_it():
    tower = build_text_encoder()
    tower.load_state_dict(load_file(WEIGHTS / "text_tower.safetensors"))
    tower.float()
    net = TextSCF(2, EMBEDDING_DIM, 4)
    net.text.copy_(encode_prompts(make_encoder(tower)))
    with torch.inference_mode():
        usual, other = (
            make_filters(net, lambda name: tower, OWN_ENCODER, words, PROMPT_TEMPLATE)
            for words in ("", "left thalamus = the right putamen")
        )
    prompt, region, cosine = other.similarity[0]
    assert (prompt, region) == ("left thalamus = the right putamen", "right putamen")
    assert cosine == pytest.approx(1, abs=0.05) and other.similarity[1][2] < 0.5
    changed = (usual.filters != other.filters).any(2).any(0)
    assert changed[7] and not changed[8:].any()
    assert tabulate_similarity({"A": usual, "B": other}).rows[0][0].startswith("B: left thalamus")
    assert tabulate_similarity({"A": usual}) is None
