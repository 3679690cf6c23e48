"""Other networks in a segmentation's place, for `training.evaluation.evaluate --peers FOLDER[,FOLDER]`.

FOLDER is that of a network and seed in the OUT of `training.studies.compare`, such as `OUT/u-net/seed0`. The method
prepares, asks and brings home as when served; only the network differs.
"""

import json
import time
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from medapp.errors import OptionError
from medapp.result import Result
from medapp.serving import network_loading, runtime, weight_files
from medapp.serving.inference_engine import Engine
from training.core.case import Case
from training.studies import WEIGHTS, folder_name
from training.studies.catalogue import STUDIES


class Peer(NamedTuple):
    """A network in the place of a method's own, or of its `part`; the rest is the served one."""

    name: str
    engine: Engine
    part: str


class Answer(NamedTuple):
    """The method's result for a case with a peer's network, and its seconds."""

    result: Result
    seconds: float
    part: str


@cache
def load_peer(folder: Path, method: str) -> Peer:
    """Load the peer in a folder. Raises OptionError if there is none, or one of another method."""
    card, kept = runtime.find_card(method), folder.parent.parent / "settings.json"
    if not kept.exists() or not (folder / WEIGHTS).exists():
        raise OptionError(
            f"{folder} is not the folder of a network of training.studies.compare, such as OUT/u-net/seed0."
        )
    settings = json.loads(kept.read_text())
    study = STUDIES[settings["study"]]
    if study.pipeline != card.name:
        raise OptionError(f"{folder} holds a network for {study.pipeline}, not for {card.name}.")
    name, candidate = next((n, r) for n, r in study.candidates.items() if folder_name(n) == folder.parent.name)
    net = network_loading.build_network(
        partial(candidate.build, settings["share"]),
        weight_files.LocatedWeights(folder / WEIGHTS, "", str(folder)),
        name,
    )
    if study.part and card.build:
        whole = network_loading.build_network(card.build, weight_files.locate_weights(card.weights), card.name)
        whole[study.part], net = net, whole
    return Peer(name, Engine(net, runtime.select_device(None)), study.part)


def run_peers(method: str, case: Case, settings: Mapping[str, Any], folders: tuple[str, ...]) -> dict[str, Answer]:
    """Return by peer the method's answer for a case with its network. Raises OptionError as `load_peer` does."""
    card, answers = runtime.find_card(method), {}
    options = dict(settings) | dict(case.options)
    for folder in folders:
        peer = load_peer(Path(folder), method)
        more = (
            {"get_network": partial(runtime.load_network, card, runtime.select_device(None), {})}
            if card.networks
            else {}
        )
        began = time.perf_counter()
        with torch.inference_mode():
            result = card.run(
                peer.engine, *card.arrange_inputs(case.volumes), progress=lambda share, stage: None, **more, **options
            )
        answers[peer.name] = Answer(result, time.perf_counter() - began, peer.part)
    return answers
