#!/usr/bin/env bash
# torch 2.13.0: the first nn.Embedding made on the meta device imports torch's compiler, some 1,500 modules.
#
# Expected: a module on the meta device has no numbers, so making it costs next to nothing. A Linear does just that.
# Seen:     the embedding's `normal_` goes through torch._refs on the meta device, whose decorated function imports
#           torch._dynamo at its first call: sympy, FSDP and distributed tensors come along, and the embedding of ten
#           rows takes about as long as `import torch`. A Linear (`uniform_`) imports none of it. The same within
#           accelerate's init_empty_weights, the usual way to a model's shell.
# Harm:     every program that makes such a shell and then fills in its weights pays one to two seconds at each start.
#           With torch.nn.init's functions replaced meanwhile (transformers.initialization.no_init_weights does that)
#           nothing is imported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/shell.py" << 'PYTHON'
import sys
import time

start = time.perf_counter()
import torch
from accelerate import init_empty_weights
from torch import nn

print("torch", torch.__version__, f"imported in {time.perf_counter() - start:.2f} s")


def made(name, make):
    before, start = set(sys.modules), time.perf_counter()
    with init_empty_weights():
        make()
    seconds, came = time.perf_counter() - start, set(sys.modules) - before
    print(f"{name}: {seconds:.2f} s, more than 500 modules: {len(came) > 500}, compiler: {'torch._dynamo' in came}")


made("Linear", lambda: nn.Linear(10, 4))
if "unfilled" in sys.argv:
    normal, nn.init.normal_ = nn.init.normal_, lambda tensor, *_, **__: tensor
    made("Embedding, not filled", lambda: nn.Embedding(10, 4))
    nn.init.normal_ = normal
else:
    made("Embedding", lambda: nn.Embedding(10, 4))
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "torch==2.13.0" "accelerate==1.15.0" "numpy==2.4.6"
"$folder/venv/bin/python" "$folder/shell.py" > "$folder/seen"
"$folder/venv/bin/python" "$folder/shell.py" unfilled >> "$folder/seen"
cat "$folder/seen"
grep -qE "^Linear: .* modules: False, compiler: False" "$folder/seen"
grep -qE "^Embedding: .* modules: True, compiler: True" "$folder/seen"
grep -qE "^Embedding, not filled: .* modules: False, compiler: False" "$folder/seen"
