# The experiments as a graph. What runs, with what and where results go are the tables of lesson 14
# (mmvae_nb.experiments.table); this file makes a rule of each job and adds nothing.
import json, shlex, sys
from mmvae_nb.experiments.graph import Options, jobs_for, priorities

OPTIONS = Options.read(config)
FLAGS = " ".join(f"--{k} {shlex.quote(v)}" for k, v in OPTIONS.words().items())
MMVAE = f"'{sys.executable}' -c 'import sys; from mmvae_nb.experiments.cli import main; sys.exit(main())'"
JOBS = jobs_for(**vars(OPTIONS))
FIRST = priorities(JOBS)

rule all:
    input: [f for job in JOBS for f in job.outputs]

for job in JOBS:
    rule:
        name: job.name
        input: list(job.inputs)
        output: list(job.outputs)
        params: settings=json.dumps(job.parameters, sort_keys=True)
        threads: 1
        priority: FIRST[job.name]
        shell: MMVAE + " job {rule} " + FLAGS
