"""medapp: put your scan in, see what five published systems make of it.

     upload ──► Volume ──► preprocess ─► network ─► postprocess ──► Result ──┬─► pictures
            files.read     └──────── one file in pipelines/ ──────┘          └─► files, report
            imaging/               (network from networks/,                     tasks/ + views/
                                    weights by hub, device by runtime)          report, result.save

The law of imports, left sees right (import-linter checks it):

    ui, cli  >  runtime  >  engine, hub, pipelines  >  networks, machine
    ui, cli  >  report, tasks, examples             >  views
    both arms  >  lesions, parcels, fidelity  >  result, card  >  imaging  >  errors
    pipelines, training  >  physics: how a scanner or a lens loses quality (physics, networks: torch, nothing of ours)
    training >  medapp                                               (and never back)

`imaging`, `views` and `tasks` do not know torch; nobody but `ui` knows Gradio. Importing does nothing: no download, no
device, no launch.
"""

__version__ = "0.1.0"
