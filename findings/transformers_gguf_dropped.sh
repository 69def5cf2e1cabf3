#!/usr/bin/env bash
# transformers 5.24.0: what a GGUF file states of positions, windows and tokenizing is dropped while it is loaded.
#
# Expected: `from_pretrained(folder, gguf_file=...)` keeps rope scaling (yarn, linear), Llama 3.1's frequency factors
#           (the tensor rope_freqs.weight), a sliding window and the pre-tokenizer that the file names (`smollm` splits
#           digits, `qwen2` composes characters first), or refuses the file.
# Seen:     all files load without a word: plain rotations, no window, `12` as one token, `e` + accent not composed.
# Harm:     beyond the original window the model computes other positions than it was trained for, and texts with
#           digits or accents become other tokens; answers get worse and no error says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1

cat > "$folder/dropped.py" << 'PYTHON'
import sys
from pathlib import Path

import gguf
import numpy as np
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, __version__

folder = Path(sys.argv[1])
merges = ["1 2", "t h", "th e"]
alphabet = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))] + [chr(256 + n) for n in range(68)]
tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, *(merge.replace(" ", "") for merge in merges)]
matrix, vector, inner = (32, 32), (32,), 64
block = {"attn_norm": vector, "ffn_norm": vector, "attn_q": matrix, "attn_k": matrix, "attn_v": matrix}
block |= {"attn_output": matrix, "ffn_gate": (inner, 32), "ffn_up": (inner, 32), "ffn_down": (32, inner)}
shapes = {"token_embd": (len(tokens), 32), "output_norm": vector} | {f"blk.0.{name}": s for name, s in block.items()}
sizes = {"block_count": 1, "context_length": 128, "embedding_length": 32, "feed_forward_length": inner}
sizes |= {"attention.head_count": 2, "attention.head_count_kv": 2, "vocab_size": len(tokens)}


def write(name, architecture="llama", pre="smollm", factors=None, **stated):
    writer = gguf.GGUFWriter(str(folder / name), architecture)
    for key, value in (sizes | stated).items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32(f"{architecture}.rope.freq_base", 10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for stem, shape in shapes.items():
        writer.add_tensor(f"{stem}.weight", np.ones(shape, np.float32))
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def loaded(name):
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=name)


write("plain.gguf")
yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
write("yarn.gguf", **yarn)
write("linear.gguf", **{"rope.scaling.type": "linear", "rope.scaling.factor": 4.0})
write("llama31.gguf", factors=np.linspace(1, 8, 8).astype(np.float32))
write("window.gguf", **{"attention.sliding_window": 16})
write("qwen2.gguf", architecture="qwen2", pre="qwen2")
plain = loaded("plain.gguf").model.rotary_emb.inv_freq
print(f"transformers {__version__}")
for name in ("yarn", "linear", "llama31"):
    same = bool((loaded(f"{name}.gguf").model.rotary_emb.inv_freq == plain).all())
    print(f"{name}: rotations of the unscaled model: {same}")
print("window:", getattr(AutoConfig.from_pretrained(folder, gguf_file="window.gguf"), "sliding_window", None))
print("smollm, '12':", AutoTokenizer.from_pretrained(folder, gguf_file="plain.gguf").tokenize("12"))
qwen2 = AutoTokenizer.from_pretrained(folder, gguf_file="qwen2.gguf").backend_tokenizer
print("qwen2, normaliser:", qwen2.normalizer)
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "torch==2.13.0" "transformers==5.24.0" "gguf==0.19.0" "accelerate==1.15.0"
"$folder/venv/bin/python" "$folder/dropped.py" "$folder" 2> "$folder/errors" > "$folder/seen" || cat "$folder/errors"
cat "$folder/seen"
for name in yarn linear llama31; do
    grep -qF "$name: rotations of the unscaled model: True" "$folder/seen"
done
grep -qF "window: None" "$folder/seen"
grep -qF "smollm, '12': ['12']" "$folder/seen"
grep -qF "qwen2, normaliser: None" "$folder/seen"
