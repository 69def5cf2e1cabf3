#!/usr/bin/env bash
# transformers 5.24.0: decoder layers are called with `cache=`, where 5.23.0 called them with `past_key_values=`.
#
# Expected: a layer put around a decoder layer, which takes **kwargs and asks for "past_key_values", gets the cache in
#           every release of one major version, or an error or a warning. The library's decorator for renamed arguments
#           helps code that calls transformers, not code that transformers calls.
# Seen:     .get("past_key_values") is None in 5.24.0, without a word; the model goes on and answers.
# Harm:     code that reads the cache's length there (positions, masks, what was read before) computes as if nothing had
#           been read yet: from the second token on, answers change and no error says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 TRANSFORMERS_VERBOSITY=error

cat > "$folder/wrapped.py" << 'PYTHON'
import torch
from transformers import LlamaConfig, LlamaForCausalLM, __version__

torch.manual_seed(0)
sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
model = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2)).eval()
lengths = []


class Wrapped(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, hidden, **kwargs):
        cache = kwargs.get("past_key_values")
        lengths.append(None if cache is None else cache.get_seq_length())
        return self.layer(hidden, **kwargs)


model.model.layers[0] = Wrapped(model.model.layers[0])
model.generate(torch.arange(1, 6)[None], max_new_tokens=3, do_sample=False)
print(f"transformers {__version__}: lengths of the cache that the layer saw: {lengths}")
PYTHON

python3 -m venv "$folder/venv"
for version in 5.23.0 5.24.0; do
    "$folder/venv/bin/pip" install -qq "torch==2.13.0" "transformers==$version"
    "$folder/venv/bin/python" "$folder/wrapped.py" | tee -a "$folder/seen"
done
grep -qF '5.23.0: lengths of the cache that the layer saw: [0, 5, 6]' "$folder/seen"
grep -qF '5.24.0: lengths of the cache that the layer saw: [None, None, None]' "$folder/seen"
