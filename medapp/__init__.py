"""medapp: published medical-imaging networks on your own scans.

     upload ──► Volume ──► preprocess ─► network ─► postprocess ──► Result ──┬─► layers, charts, pictures
             io.files      └──────── one file in pipelines/ ──────┘          └─► files, report
                           (steps from algorithms/, measures from analysis/,     (presenters/, rendering/)
                            network from networks/, weights by serving/)

A card (`card`) tells everything about a method before it runs: inputs, options, weights, what shows the result. The
page (`ui`) and the command line (`cli`) are made from the cards; `serving.runtime` runs a method, and the presenter
that its card names shows the result. `cohorts` runs a method on every person of a study.

The law of imports: what stands higher sees what stands lower, neighbours do not see each other.

    ui | cli
    cohorts
    serving | presenters | examples
    pipelines
    algorithms | rendering
    networks | simulation | analysis | hardware
    result | card
    options
    io
    imaging
    limits | cache
    errors

`training` sees medapp and never back. Torch is known to networks, simulation, algorithms, pipelines, hardware and
serving alone; Gradio to ui alone; file formats to io. import-linter checks all of it by the contracts in
pyproject.toml.

Importing does nothing: no download, no device, no launch. One exception: OpenMP is told, before anything loads it, that
waiting threads should sleep. Threads that spin slow each other down several times when the machine is busy.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
