#!/usr/bin/env bash
# transformers 5.17.0: DynamicCache.reset() sets keys and values to zero and keeps their number. Mended in 5.18.0.
#
# Expected: after reset() the cache is empty, and the model computes what it computes with a new one.
# Seen:     5.17.0 still says 5 positions, and the same tokens give other numbers: five zeros are read before them.
#           5.18.0 says 0 positions and gives the same numbers.
# Harm:     a program that keeps one cache for several prompts answers the second one as if it stood behind five tokens
#           that nobody wrote. No error says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 TRANSFORMERS_VERBOSITY=error

cat > "$folder/reset.py" << 'PYTHON'
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, __version__

torch.manual_seed(0)
sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
model = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2)).eval()
tokens = torch.arange(1, 6)[None]
cache = DynamicCache(config=model.config)
with torch.no_grad():
    first = model(tokens, past_key_values=cache).logits
    cache.reset()
    length = cache.get_seq_length()
    again = model(tokens, past_key_values=cache).logits
print(f"transformers {__version__}: {length} positions after reset(), same numbers: {torch.allclose(first, again)}")
PYTHON

python3 -m venv "$folder/venv"
for version in 5.17.0 5.18.0; do
    "$folder/venv/bin/pip" install -qq "torch==2.13.0" "transformers==$version"
    "$folder/venv/bin/python" "$folder/reset.py" | tee -a "$folder/seen"
done
grep -qF '5.17.0: 5 positions after reset(), same numbers: False' "$folder/seen"
grep -qF '5.18.0: 0 positions after reset(), same numbers: True' "$folder/seen"
