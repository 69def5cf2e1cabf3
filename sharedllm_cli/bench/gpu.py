"""The short name of `lab/bench/gpu.py`: `python -m sharedllm_cli.bench.gpu`."""

import runpy

runpy.run_module("sharedllm_cli.lab.bench.gpu", run_name="__main__")
