"""How images get worse: the physics behind noise and blur, to train on and to try out."""
