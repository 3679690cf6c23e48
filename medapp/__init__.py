"""medapp: put your scan in, see what five published systems make of it.

     upload ──► Volume ──► preprocess ─► network ─► postprocess ──► Result ──┬─► pictures
            files.read     └──────── one file in pipelines/ ──────┘          └─► files, report
            imaging/               (network from networks/,                     tasks/ + views/
                                    weights by hub, device by runtime)          report, result.save

The law of imports, left sees right (import-linter checks it):

    ui, cli  >  runtime  >  engine, hub, pipelines  >  networks, machine
    ui, cli  >  report, tasks, examples             >  views
    both arms  >  strokes, sclerosis  >  lesions, parcels, fusion, fidelity, ...  >  result, card  >  imaging  >  errors
    pipelines, training  >  physics: how a scanner or a lens loses quality (physics, networks: torch, nothing of ours)
    training >  medapp                                               (and never back)

`imaging`, `views` and `tasks` do not know torch; nobody but `ui` knows Gradio. Importing does nothing: no download, no
device, no launch; but for one word to OpenMP, before anything loads it: threads that wait should sleep. Spinning ones
wait for each other several times longer than the work takes when the machine is busy with a browser or a visitor more.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
