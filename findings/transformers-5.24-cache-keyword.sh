#!/usr/bin/env bash
# transformers 5.24.0 renames the keyword by which a model hands its decoder layers the cache, and tells no layer.
#
# Expected: a wrapped decoder layer that reads `past_key_values` from its keywords fails, or is warned, when the name
# goes. Seen: 5.23.0 passes `past_key_values`, 5.24.0 passes `cache`. Callers with the old name get a FutureWarning;
# a layer that takes **kwargs and asks .get("past_key_values") gets None, silently, and the model answers as if nothing
# had been read before. A user of a wrapped model gets fluent wrong answers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip"
"$pip" install -q "torch==2.13.0"
cat > "$folder/look.py" <<'PYTHON'
import sys
import warnings

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

warnings.simplefilter("error", FutureWarning)
torch.manual_seed(0)
small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
model = LlamaForCausalLM(LlamaConfig(vocab_size=100, num_key_value_heads=2, **small)).eval()
given = set()


class Listening(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states, **keywords):
        given.update(name for name in ("past_key_values", "cache") if keywords.get(name) is not None)
        return self.layer(hidden_states, **keywords)


model.model.layers[1] = Listening(model.model.layers[1])
with torch.no_grad():
    model(input_ids=torch.arange(6)[None], use_cache=True)
print(transformers.__version__, "hands a layer", sorted(given))
sys.exit(0 if sorted(given) == sys.argv[1:] else 1)
PYTHON
"$pip" install -q "transformers==5.23.0"
"$folder/venv/bin/python" "$folder/look.py" past_key_values
"$pip" install -q "transformers==5.24.0"
"$folder/venv/bin/python" "$folder/look.py" cache
