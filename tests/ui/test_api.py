"""The other doors of the running app: gradio_client and MCP."""

import asyncio
import base64
import json
import zipfile

import httpx
import nibabel as nib
import numpy as np
import pytest
from gradio_client import Client, handle_file

from medapp import examples
from medapp.serving import runtime

LESION = next(e for e in examples.of_task("segmentation") if e.reference and set(e.images) == {"flair"})
NAME = "segment_glioma_ar2unet"


@pytest.fixture(scope="module")
def client(served):
    return Client(served, verbose=False)


def test_the_named_endpoint_answers_with_facts_and_files(client):
    facts, files = client.predict(
        flair=handle_file(str(LESION.images["flair"])),
        reference=handle_file(str(LESION.reference)),
        threshold=0.6,
        api_name=f"/{NAME}",
    )
    assert facts["pipeline"] == NAME and facts["metrics"]["threshold"]["value"] == 0.6
    assert facts["metrics"]["dice"]["value"] > 0.5
    mask = nib.load(next(f for f in files if f.endswith("mask.nii.gz")))
    np.testing.assert_allclose(mask.affine, nib.load(LESION.images["flair"]).affine, atol=1e-4)


def test_former_names_are_taken_with_a_note_and_a_corrected_mask_is_measured(client):
    flair, mask = (handle_file(str(path)) for path in (LESION.images["flair"], LESION.reference))
    given = {"flair": flair, "pre": flair, "smallest": 2, "mask": mask, "reference": mask, "raters": [mask, mask]}
    facts, files = client.predict(**given, api_name=f"/{NAME}")
    assert facts["metrics"]["dice"]["value"] == 1 and facts["metrics"]["hand_added"]["value"] > 0
    assert any(file.endswith("corrected_mask.nii.gz") for file in files)
    assert len(facts["tables"]["raters"]["rows"]) == 10 and facts["metrics"]["raters"]["value"] == 4
    assert any(file.endswith("corrected_consensus.nii.gz") for file in files)
    assert facts["settings"]["min_lesion_ml"] == 2 and not any("No pre-contrast" in note for note in facts["notes"])
    assert [note.split()[0] for note in facts["notes"] if "is now called" in note] == ["pre", "smallest"]


def test_a_reference_that_does_not_fit_costs_the_comparison_alone(client, tmp_path):
    damaged, away = tmp_path / "damaged.nii.gz", tmp_path / "away.nii.gz"
    damaged.write_bytes(b"\x1f\x8b nothing")
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.uint8), np.eye(4) + 900 * np.eye(4, k=3)), away)
    for reference in (damaged, away):
        given = {"flair": handle_file(str(LESION.images["flair"])), "reference": handle_file(str(reference))}
        facts, files = client.predict(**given, api_name=f"/{NAME}")
        assert facts["notes"][0].startswith("Not compared with the reference. ") and "dice" not in facts["metrics"]
        assert facts["metrics"]["volume"]["value"] > 1 and any(f.endswith("mask.nii.gz") for f in files)


def test_only_the_named_endpoints_are_public(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        f"/{name}" for name in runtime.load_cards()
    }


def test_bad_input_comes_back_as_a_sentence(client, tmp_path):
    bad = tmp_path / "bad.nii"
    bad.write_bytes(b"0" * 1000)
    with pytest.raises(Exception, match=r"bad\.nii"):
        client.predict(flair=handle_file(str(bad)), api_name=f"/{NAME}")


def test_a_header_and_its_voxels_in_a_zip_and_a_reference_without_numbers(client, tmp_path):
    flair, reference = (nib.load(path) for path in (LESION.images["flair"], LESION.reference))
    nib.save(nib.Nifti1Pair(np.asarray(flair.dataobj), flair.affine), tmp_path / "flair.img")
    with zipfile.ZipFile(tmp_path / "flair.zip", "w") as archive:
        for name in ("flair.hdr", "flair.img"):
            archive.write(tmp_path / name, name)
    mask = np.where(reference.get_fdata() > 0, 1, np.nan).astype(np.float32)
    nib.save(nib.Nifti1Image(mask, reference.affine), tmp_path / "mask.nii.gz")
    facts = [
        client.predict(flair=handle_file(str(image)), reference=handle_file(str(truth)), api_name=f"/{NAME}")[0]
        for image, truth in (
            (LESION.images["flair"], LESION.reference),
            (tmp_path / "flair.zip", tmp_path / "mask.nii.gz"),
        )
    ]
    for name in ("volume", "dice", "reference_volume"):
        np.testing.assert_allclose(facts[1]["metrics"][name]["value"], facts[0]["metrics"][name]["value"], atol=2e-3)
    assert any("NaN or infinite" in note and note.startswith("Reference") for note in facts[1]["notes"])


def test_a_series_of_a_zip_is_chosen_by_its_number(client, tmp_path):
    from pydicom.data import get_testdata_file

    box = tmp_path / "two.zip"
    with zipfile.ZipFile(box, "w") as archive:
        for name in ("MR_small.dcm", "CT_small.dcm"):
            archive.write(get_testdata_file(name), name)
    with pytest.raises(Exception, match=r"2 series.*1\. .*2\. .*as in image=2"):
        client.predict(image=handle_file(str(box)), api_name="/restore_ct_rat")
    with pytest.raises(Exception, match="no series 9"):
        client.predict(image=handle_file(str(box)), series="image=9", api_name="/restore_ct_rat")
    mr = []
    for choice in ("1", "image=2"):
        facts, _ = client.predict(
            image=handle_file(str(box)), series=choice, regions="superpixels", api_name="/restore_ct_rat"
        )
        mr.append(any("does not look like CT" in note for note in facts["warnings"]))
    assert sorted(mr) == [False, True]


def in_words(served):
    return "data:application/gzip;base64," + base64.b64encode(LESION.images["flair"].read_bytes()).decode()


def uploaded(served):
    with LESION.images["flair"].open("rb") as file:
        (path,) = httpx.post(f"{served}gradio_api/upload", files={"files": file}).json()
    return f"{served}gradio_api/file={path}"


@pytest.mark.parametrize("put_in", [in_words, uploaded])
def test_the_mcp_tool_is_described_and_runs(served, put_in):
    mcp = pytest.importorskip("mcp")
    from mcp.client.streamable_http import streamablehttp_client

    async def talk():
        async with (
            streamablehttp_client(f"{served}gradio_api/mcp/") as (read, write, _),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            tool = next(t for t in tools if t.name.endswith(NAME))
            return tools, tool, await session.call_tool(tool.name, {"flair": image})

    image = put_in(served)
    tools, tool, answer = asyncio.run(talk())
    assert len(tools) == len(runtime.load_cards()) and "never a diagnosis" in tool.description
    assert {"flair", "threshold", "reference", "raters"} <= set(tool.inputSchema["properties"])
    text = " ".join(part.text for part in answer.content if part.type == "text")
    assert not answer.isError and NAME in text and "volume" in text, json.dumps(text)[:500]
