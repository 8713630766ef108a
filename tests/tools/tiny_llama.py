"""Tiny LLaMA folders with random f32 weights, for tests of the command. Standard library only."""
import json
import os
import random
import shutil
import struct

DIM, HEADS, KV_HEADS, WIDTH, LAYERS = 32, 4, 2, 48, 2


def shapes(vocab, tied):
    kv = DIM // HEADS * KV_HEADS
    yield "model.embed_tokens.weight", (vocab, DIM)
    for layer in range(LAYERS):
        for name, shape in (("self_attn.q_proj", (DIM, DIM)), ("self_attn.k_proj", (kv, DIM)), ("self_attn.v_proj", (kv, DIM)), ("self_attn.o_proj", (DIM, DIM)),
                            ("mlp.gate_proj", (WIDTH, DIM)), ("mlp.up_proj", (WIDTH, DIM)), ("mlp.down_proj", (DIM, WIDTH)), ("input_layernorm", (DIM,)), ("post_attention_layernorm", (DIM,))):
            yield f"model.layers.{layer}.{name}.weight", shape
    yield "model.norm.weight", (DIM,)
    if not tied:
        yield "lm_head.weight", (vocab, DIM)


def write(folder, vocab, tokenizer, config=None, generation=None, tokenizer_config=None, tied=False, head_scale=lambda token: 1.0):
    """tokenizer: the path of a tokenizer.json, or the document. head_scale: what a token's row of the head (tied: of the embedding) is multiplied with."""
    os.makedirs(folder)
    noise = random.Random(7)
    header, data = {}, bytearray()
    for name, shape in shapes(vocab, tied):
        if len(shape) == 1:
            values = [1.0] * shape[0]
        else:
            scale = 0.3
            values = []
            for row in range(shape[0]):
                factor = scale * (head_scale(row) if name == ("model.embed_tokens.weight" if tied else "lm_head.weight") else 1.0)
                values += [factor * 3.4 * (noise.random() - 0.5) for _ in range(shape[1])]
        begin = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    whole = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": DIM, "intermediate_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
             "num_key_value_heads": KV_HEADS, "vocab_size": vocab, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": tied,
             "bos_token_id": 1, "eos_token_id": 2, **(config or {})}
    documents = {"config.json": whole, "generation_config.json": generation, "tokenizer_config.json": tokenizer_config}
    if isinstance(tokenizer, str):
        shutil.copy(tokenizer, os.path.join(folder, "tokenizer.json"))
    else:
        documents["tokenizer.json"] = tokenizer
    for name, document in documents.items():
        if document is not None:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                json.dump(document, file)
    return folder
