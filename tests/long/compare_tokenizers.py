"""Compares ids with the libraries tokenizers and sentencepiece on many nasty texts.

usage: compare_tokenizers.py LEAFCUTTER [FOLDER [TEXTS]]      needs the packages tokenizers, sentencepiece, gguf, safetensors and numpy; exit status 77 when one is not there

Trains tokenizers of the kinds that LLaMA, TinyLlama, Gemma, DeepSeek, GPT-2 and LLaMA 3 have on the documentation of this machine (/usr/share/doc and
/usr/share/common-licenses), each in FOLDER (default: one that is removed afterwards) with a tiny checkpoint, and asks `leafcutter tokenize` for the ids of TEXTS texts (default 10000), with and without special
tokens, and for the text of the ids. Any difference is shown and makes the exit status 1.
"""
import glob
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile

try:
    import gguf
    import numpy
    import sentencepiece
    from safetensors.numpy import save_file
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Words of cased letters as Unicode 11 has them, punctuation, Chinese and Korean.
DEEPSEEK = [r"[\r\n]", r"\s?["
            r"\x{41}-\x{5a}\x{61}-\x{7a}\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{3"
            r"7b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x"
            r"{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}"
            r"-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6"
            r"}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{21"
            r"1d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7"
            r"e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{f"
            r"b00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-"
            r"\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}"
            r"]+", r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+", r"\s+$", r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+"]
SPECIAL = ["<s>", "</s>"]


def documents():
    paths = sorted(glob.glob("/usr/share/common-licenses/*") + glob.glob("/usr/share/doc/*/*.gz") + glob.glob("/usr/share/doc/*/copyright"))
    for path in paths[:1500]:
        try:
            data = gzip.open(path).read() if path.endswith(".gz") else open(path, "rb").read()
        except OSError:
            continue
        text = data[:30000].decode("utf-8", "ignore").replace("\0", "")
        if text.strip():
            yield text


CHINESE = "切叶蚁把叶子切成小片带回巢里用来种真菌整个蚁群都吃它今天天气很好我们一起去看看吧模型语言数据内存"
ODD = ["\u180e", "\u0085", "\u00a0", "\u3000", "\u2028", "\u2029", "\u200b", "\u200d", "\ufeff", "\u2581", "\u2581\u2581", "\t", "\r\n", "\n\n", "\n", " ", "  ", "   ", "     ", "\x00", "\x1c", "\x7f",
       "é", "e\u0301", "ß", "ſ", "'ſ", "'S", "'Ll", "İ", "K", "ﬁ", "½", "Ⅷ", "①", "٣", "१२", "²", "中", "한", "ひ", "ｶ", "！", "。", "‘", "’", "“", "🙂", "👨‍👩‍👧", "🇩🇪", "\U000e0067", "\U0010ffff", "\ue000", "\ufffd", "<0x0A>", "<unk>",
       "<s>", "</s>", "<pad>", "<mask>", "<tag>", "<tag> ", " <tag>", "word", "<start_of_turn>", "<end_of_turn>", "[MASK]", "<", ">", "s>", "/s>", "<s", "don't", "I'LL", "0", "12", "3456", "7.5e-3", "!!!", "...", "--", "\\n", "a", "A", "_", "__init__"]


def texts(count, corpus):
    rng = random.Random(7)
    out = ["", " ", "a", " a", "a ", "\n", "▁", "▁a", *ODD, "a" * 5000, " " * 3000, "▁" * 700, "ab" * 2000, "\n" * 500, "<s>" * 50, "中" * 1000, "\U0001f642" * 300]
    while len(out) < count:
        parts = []
        for _ in range(rng.randint(1, 14)):
            kind = rng.random()
            if kind < 0.40: parts.append(rng.choice(ODD))
            elif kind < 0.65:
                document = rng.choice(corpus)
                at = rng.randrange(len(document))
                parts.append(document[at:at + rng.randint(1, 60)])
            elif kind < 0.75: parts.append("".join(rng.choice(CHINESE) for _ in range(rng.randint(1, 9))))
            elif kind < 0.85: parts.append(" " * rng.randint(1, 9))
            elif kind < 0.93: parts.append("".join(chr(rng.choice([rng.randint(33, 126), rng.randint(0xa1, 0x4ff), rng.randint(0x590, 0x1fff), rng.randint(0x2000, 0x2e00), rng.randint(0x3000, 0x33ff), rng.randint(0xff00, 0xffef), rng.randint(0x1f300, 0x1f6ff)])) for _ in range(4)))
            else: parts.append(str(rng.randint(0, 10 ** rng.randint(1, 9))))
        out.append("".join(parts))
    return out


def checkpoint(path, tokens):
    """A LLaMA of a few numbers, so that the folder is one that converts."""
    os.makedirs(path, exist_ok=True)
    rows = max(tokens, 32)
    json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 2,
               "vocab_size": rows, "tie_word_embeddings": True, "max_position_embeddings": 64}, open(f"{path}/config.json", "w"))
    names = {"model.embed_tokens.weight": (rows, 2), "model.norm.weight": (2,)}
    layer = {"input_layernorm": (2,), "post_attention_layernorm": (2,), "self_attn.q_proj": (2, 2), "self_attn.k_proj": (2, 2), "self_attn.v_proj": (2, 2), "self_attn.o_proj": (2, 2),
             "mlp.gate_proj": (2, 2), "mlp.up_proj": (2, 2), "mlp.down_proj": (2, 2)}
    names.update({f"model.layers.0.{k}.weight": v for k, v in layer.items()})
    save_file({k: numpy.ones(v, dtype=numpy.float16) for k, v in names.items()}, f"{path}/model.safetensors")


def sentencepiece_model(folder, name, corpus, size, **options):
    path = f"{folder}/{name}"
    if not os.path.exists(path + ".model"):
        with open(path + ".txt", "w", encoding="utf-8") as file:
            for document in corpus:
                file.write("\n".join(line[:4000] for line in document.splitlines()) + "\n")
        sentencepiece.SentencePieceTrainer.train(input=path + ".txt", model_prefix=path, model_type="bpe", vocab_size=size, byte_fallback=True, normalization_rule_name="identity",
                                                 remove_extra_whitespaces=False, split_digits=True, character_coverage=0.9995, minloglevel=2, hard_vocab_limit=False, **options)
    return sentencepiece.SentencePieceProcessor(model_file=path + ".model")


def json_from_sentencepiece(model, added, **pipeline):
    """As transformers' converters: every pair of pieces that makes a piece is a merge, ordered by the score of what it makes."""
    vocab = {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    merges = []
    for piece, id in vocab.items():
        if model.is_control(id) or model.is_unknown(id) or model.is_byte(id):
            continue
        local = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
        local.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        merges += [(model.get_score(id), pair) for pair in local]
    merges.sort(key=lambda entry: -entry[0])
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[pair for _, pair in merges], unk_token="<unk>", fuse_unk=pipeline.get("fuse_unk", True), byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in ["<unk>", *SPECIAL]])
    if added: tokenizer.add_tokens(added)
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        if part in pipeline: setattr(tokenizer, part, pipeline[part])
    return tokenizer


def byte_level(corpus, splits, vocabulary=8000, ignore_merges=False, use_regex=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, last]) if splits else last
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus + [CHINESE] * 20, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL])
    return tokenizer


def kinds(folder, corpus):
    space = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    llama = sentencepiece_model(folder, "llama", corpus, 32000)
    gemma = sentencepiece_model(folder, "gemma", corpus, 48000, add_dummy_prefix=False, allow_whitespace_only_pieces=True, user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "▁▁▁▁▁"])
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    strip = decoders.Sequence([*space, decoders.Strip(" ", 1, 0)])
    yield "llama-legacy", json_from_sentencepiece(llama, [], normalizer=prepend, decoder=strip)
    yield "llama-added", json_from_sentencepiece(llama, [AddedToken("<tag>", normalized=True), AddedToken("[MASK]", lstrip=True, normalized=False), AddedToken("<mask>", rstrip=True, lstrip=True, normalized=False),
                                                        AddedToken("word", single_word=True, normalized=False), AddedToken("<pad>", special=True, normalized=False, rstrip=True)], normalizer=prepend, decoder=strip, fuse_unk=False)
    for scheme in ("first", "always", "never"):
        for split in (True, False):
            yield f"metaspace-{scheme}-{split}", json_from_sentencepiece(llama, [AddedToken("<tag>", normalized=True)], pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split), decoder=decoders.Sequence([decoders.Metaspace(prepend_scheme=scheme), decoders.ByteFallback(), decoders.Fuse()]))
    yield "gemma", json_from_sentencepiece(gemma, [AddedToken("<start_of_turn>", special=True, normalized=False), AddedToken("<end_of_turn>", special=True, normalized=False), AddedToken("▁▁▁▁▁", normalized=False)],
                                           normalizer=normalizers.Replace(" ", "▁"), pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"), decoder=decoders.Sequence(space))
    behaviors = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"[\.,]"), "merged_with_next"), pre_tokenizers.Split(Regex(r"\d"), "contiguous"), pre_tokenizers.Punctuation("removed"), pre_tokenizers.Metaspace(prepend_scheme="always")])
    yield "behaviors", json_from_sentencepiece(llama, [], pre_tokenizer=behaviors, decoder=decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()]))
    yield "deepseek", byte_level(corpus, [*[pre_tokenizers.Split(Regex(text), "isolated") for text in DEEPSEEK], pre_tokenizers.Digits(individual_digits=True)])
    yield "gpt2", byte_level(corpus, [], use_regex=True)
    yield "llama3", byte_level(corpus, [pre_tokenizers.Split(Regex(LLAMA3), "isolated")], ignore_merges=True)


def ask(program, path, items, *flags):
    """One process for all: texts go in and answers come back as lines of JSON."""
    result = subprocess.run([program, "tokenize", path, "--lines", "--json", *flags], input="".join(json.dumps(item) + "\n" for item in items), capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{path}: {result.stderr}")
    return [json.loads(line) for line in result.stdout.split("\n") if line]


def gguf_of(path, model, prefix):
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {"embedding_length": 2, "context_length": 64, "block_count": 1, "feed_forward_length": 2, "head_count": 1}.items():
        {"embedding_length": writer.add_embedding_length, "context_length": writer.add_context_length, "block_count": writer.add_block_count,
         "feed_forward_length": writer.add_feed_forward_length, "head_count": writer.add_head_count}[key](value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    count = model.get_piece_size()
    kind = lambda i: 2 if model.is_unknown(i) else 3 if model.is_control(i) else 5 if model.is_unused(i) else 6 if model.is_byte(i) else 1
    user = {"<start_of_turn>", "<end_of_turn>", "▁▁▁▁▁"}
    writer.add_token_list([model.id_to_piece(i).encode() for i in range(count)])
    writer.add_token_scores([model.get_score(i) for i in range(count)])
    writer.add_token_types([4 if model.id_to_piece(i) in user else kind(i) for i in range(count)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(prefix)
    one = lambda *shape: numpy.ones(shape, dtype=numpy.float16)
    for name, shape in {"token_embd": (count, 2), "output_norm": (2,), "blk.0.attn_norm": (2,), "blk.0.ffn_norm": (2,), "blk.0.attn_q": (2, 2), "blk.0.attn_k": (2, 2), "blk.0.attn_v": (2, 2),
                        "blk.0.attn_output": (2, 2), "blk.0.ffn_gate": (2, 2), "blk.0.ffn_up": (2, 2), "blk.0.ffn_down": (2, 2)}.items():
        writer.add_tensor(name + ".weight", one(*shape).astype(numpy.float32) if len(shape) == 1 else one(*shape))
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()


def compare(name, items, expected, got, what):
    wrong = [i for i in range(len(items)) if expected[i] != got[i]]
    print(f"{name}, {what}: {len(items)} texts, {len(wrong)} differ", flush=True)
    for i in wrong[:3]:
        print("   ", repr(items[i][:200]), "\n      expected", str(expected[i])[:300], "\n      got     ", str(got[i])[:300])
    return len(wrong)


def main():
    program = sys.argv[1]
    temporary = tempfile.TemporaryDirectory()
    folder = sys.argv[2] if len(sys.argv) > 2 else temporary.name
    corpus = list(documents())
    items = texts(int(sys.argv[3]) if len(sys.argv) > 3 else 10000, corpus)
    os.makedirs(folder, exist_ok=True)
    wrong = 0
    for name, tokenizer in kinds(folder, corpus):
        path = f"{folder}/{name}"
        checkpoint(path, tokenizer.get_vocab_size())
        tokenizer.save(f"{path}/tokenizer.json", pretty=False)
        json.dump({"bos_token": "<s>", "eos_token": "</s>"}, open(f"{path}/tokenizer_config.json", "w"))
        special = [encoding.ids for encoding in tokenizer.encode_batch(items, add_special_tokens=False)]
        wrong += compare(name, items, special, [answer["ids"] for answer in ask(program, path, items, "--special")], "special")
        wrong += compare(name, items, [tokenizer.decode(ids, skip_special_tokens=False) for ids in special], [answer["text"] for answer in ask(program, path, special, "--decode", "--special")], "decoded")
        tokenizer.encode_special_tokens = True
        wrong += compare(name, items, [encoding.ids for encoding in tokenizer.encode_batch(items, add_special_tokens=False)], [answer["ids"] for answer in ask(program, path, items)], "plain")
    for name, prefix in (("llama", True), ("gemma", False)):
        model = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/{name}.model")
        gguf_of(f"{folder}/{name}.gguf", model, prefix)
        wrong += compare(name + ".gguf", items, [model.encode(text) for text in items], [answer["ids"] for answer in ask(program, f"{folder}/{name}.gguf", items)], "plain")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
