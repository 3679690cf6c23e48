"""Model card: what the Hub shows of published weights, from the pipeline's card and the text in weights/."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard

from medapp.card import Card
from medapp.serving import weight_files
from training.evaluation.golden_pair import RefusedError

LICENCES = (
    "apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
)  # fmt: skip
DATASETS = ("OASIS-1", "TCGA-LGG", "MoNuSeg", "LIDC-IDRI", "ACRIN-NSCLC-FDG-PET", "COVID-19-NY-SBU", "SA-1B")
METRICS = ("Dice", "HD95", "PSNR", "SSIM", "RMSE", "SDlogJ")
USE = """\
## Use

The app fetches `{file}` from here at `{revision}` and uses it only if its sha256 is
`{sha256}`:

```sh
{variable}={repo} python -m medapp run {name} INPUT --out DIR
```

`golden/` holds a small input, what the app made of it, and how far from that another machine may be. This pulls weights
and input from here, and does it again:

```sh
python -m training.release.publish {name} --repo {repo} --verify
```
"""


def make_model_card(card: Card, text: str, repo: str, revision: str, scores: Path | None = None) -> ModelCard:
    """Return the Hub's model card from `text`, that of weights/NAME.md, and from the pipeline's card.

    `scores` is a folder that `training.evaluation.evaluate` wrote, for the model index. Data sets and metrics that the
    front matter leaves out are those that the text names. Raises RefusedError if the text has no licence that the Hub
    knows, contradicts the card, or has no scores.
    """
    try:
        ours = ModelCard(text)
    except (ValueError, yaml.YAMLError) as error:
        raise RefusedError(f"The front matter of the card of {card.name} is no YAML that the Hub can read.") from error
    data: Any = ours.data  # a ModelCardData, which huggingface_hub declares as its base class
    licence = re.sub(r"\s+", "-", card.licence.partition("(")[0].strip()).lower()
    if data.license != licence or licence not in LICENCES:
        raise RefusedError(
            f"The licences of {card.name} must be one, of {', '.join(LICENCES)}: the pipeline's card says {licence}, "
            f"the text in weights/ {data.license}."
        )
    if not card.scores or "to be measured" in f"{card.scores} {text}".lower():
        raise RefusedError(
            f"{card.name} has no scores on its card yet: run training.evaluation.evaluate and write them there first."
        )
    data.datasets = data.datasets or _find_mentioned(DATASETS, f"{card.trained_on} {_data_paragraph(ours.text)}")
    data.metrics = data.metrics or _find_mentioned(METRICS, f"{card.scores} {ours.text}")
    if scores:
        data.model_name = Path(card.weights.file).stem
        data.eval_results = _make_eval_results(card, data.pipeline_tag, data.datasets or [], scores)
    use = USE.format(
        name=card.name,
        repo=repo,
        revision=revision,
        file=card.weights.file,
        sha256=card.weights.sha256,
        variable=weight_files.name_repo_variable(card.weights),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{ours.text.strip()}\n\n{use}")


def _data_paragraph(text: str) -> str:
    """The paragraph on the data."""
    match = re.search(r"\*\*Data\.\*\*.*?(?=\n\n|\Z)", text, re.DOTALL)
    return match[0] if match else ""


def _find_mentioned(names: tuple[str, ...], text: str) -> list[str] | None:
    return [name.lower() for name in names if re.search(rf"\b{re.escape(name)}\b", text)] or None


def _make_eval_results(card: Card, task: str | None, datasets: list[str], folder: Path) -> list[EvalResult]:
    """Return the mean of every condition and known metric of summary.json. Raises RefusedError for other weights'."""
    try:
        summary_file = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedError(f"{folder} holds no summary.json of training.evaluation.evaluate.") from error
    if summary_file["weights"]["sha256"] != card.weights.sha256:
        raise RefusedError(f"The scores in {folder} are those of other weights than the card of {card.name} names.")
    named = ", ".join(datasets) or "own data"
    results = []
    for condition, groups in summary_file["summary"].items():
        for figure, summary in (groups.get("ours") or groups.get("all") or {}).items():
            metric = next((m.lower() for m in METRICS if figure.lower().startswith(m.lower())), None)
            if metric and summary["n"]:
                results.append(
                    EvalResult(
                        task_type=task or "image-to-image",
                        dataset_type=datasets[0] if datasets else "own",
                        dataset_name=f"{named}: {condition}",
                        dataset_split=summary_file["part"],
                        metric_type=metric,
                        metric_name=f"{figure}, mean over {summary['n']} patients",
                        metric_value=summary["mean"],
                    )
                )
    return results
