# The experiments as a graph. What runs, with what and where results go is the table of lesson 18
# (mmvae_nb.reproduce); this file makes a rule of each of its jobs and adds nothing.
import json, shlex, sys
from mmvae_nb.reproduce import jobs_for

options = dict(scale=config.get("scale", "quick"), dataset=config.get("dataset", "mnist_svhn_text"),
               part=config.get("part"), results=str(config.get("results", "results")))
methods = [m for m in str(config.get("methods", "")).split(",") if m]
if "seeds" in config: options["seeds"] = int(config["seeds"])
if "device" in config: options["device"] = config["device"]
JOBS = jobs_for(**options, methods=methods or None)
FLAGS = " ".join(f"--{k} {shlex.quote(str(v))}" for k, v in options.items() if v is not None) + (f" --methods {','.join(methods)}" if methods else "")
MMVAE = f"'{sys.executable}' -c 'import sys; from mmvae_nb.reproduce import main; sys.exit(main())'"

rule all:
    input: [f for job in JOBS for f in job.outputs]

for job in JOBS:
    rule:
        name: job.name
        input: list(job.inputs)
        output: list(job.outputs)
        params: settings=json.dumps(job.parameters, sort_keys=True)
        threads: 1
        shell: MMVAE + " job {rule} " + FLAGS
