"""Trains small SentencePiece models of LLaMA's and Gemma's kind and writes what the libraries tokenizers and sentencepiece make of many texts.

usage: make_sentencepiece.py FOLDER        needs the packages tokenizers and sentencepiece; the tests need only what it wrote

FOLDER/sp-NAME holds tokenizer.json, tokenizer_config.json and vectors.json: [{"text": ..., "ids": [...], "special": [...], "decoded": ...}, ...]; `ids` with special tokens
taken for text, `special` with them recognised, `decoded` the text of `special`. FOLDER/scores-NAME holds pieces.json (texts, scores and GGUF's types of the tokens)
and vectors.json with sentencepiece's own ids.
"""
import json
import os
import random
import sys
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from make_tokenizers import corpus, texts

SPECIAL = ["<s>", "</s>"]
USER = ["<start_of_turn>", "<end_of_turn>", "▁▁▁▁▁"]
MORE = ["▁", "▁a", "a▁b", "  two", "      six", "<s>", "</s>a", " <s> b", "<unk>", "<0x0A>", "<start_of_turn>user\nHi<end_of_turn>\n", "a<tag>b", " <tag> ", "a [MASK] b", "sword word words word", "\U000e0001", "ﷺ", "\u180e\u0085"]


def train(name, size, **options):
    folder = tempfile.mkdtemp()
    with open(f"{folder}/corpus.txt", "w", encoding="utf-8") as file:
        for text in corpus(random.Random(name)):
            file.write(text.replace("\n", " ") + "\n")
    sentencepiece.SentencePieceTrainer.train(input=f"{folder}/corpus.txt", model_prefix=f"{folder}/model", model_type="bpe", vocab_size=size, byte_fallback=True, normalization_rule_name="identity",
                                             remove_extra_whitespaces=False, split_digits=True, character_coverage=0.98, minloglevel=2, hard_vocab_limit=False, num_threads=1, **options)
    return sentencepiece.SentencePieceProcessor(model_file=f"{folder}/model.model")


def from_model(model, added, fuse_unk=True, **parts):
    vocab = {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    merges = []
    for piece, id in vocab.items():
        if not (model.is_control(id) or model.is_unknown(id) or model.is_byte(id)):
            pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
            merges += [(-model.get_score(id), vocab[a], vocab[b], a, b) for a, b in pairs]
    merges.sort()
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[(a, b) for _, _, _, a, b in merges], unk_token="<unk>", fuse_unk=fuse_unk, byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in ["<unk>", *SPECIAL]])
    if added: tokenizer.add_tokens(added)
    for part, value in parts.items():
        setattr(tokenizer, part, value)
    return tokenizer


def write(folder, name, tokenizer):
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    tokenizer.save(os.path.join(path, "tokenizer.json"), pretty=False)
    with open(os.path.join(path, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"bos_token": "<s>", "eos_token": "</s>"}, file)
    vectors = []
    for text in texts(random.Random(name))[:260] + MORE:
        tokenizer.encode_special_tokens = False
        special = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        vectors.append({"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids, "special": special, "decoded": tokenizer.decode(special, skip_special_tokens=False)})
    save_vectors(path, vectors)


def write_scores(folder, name, model):
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    ids = range(model.get_piece_size())
    kind = lambda i: 2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 4 if model.id_to_piece(i) in USER else 1
    with open(os.path.join(path, "pieces.json"), "w", encoding="utf-8") as file:
        json.dump({"tokens": [model.id_to_piece(i) for i in ids], "scores": [model.get_score(i) for i in ids], "types": [kind(i) for i in ids]}, file, separators=(",", ":"))
    save_vectors(path, [{"text": text, "ids": model.encode(text)} for text in texts(random.Random(name))[:260] + MORE])


def save_vectors(path, vectors):
    with open(os.path.join(path, "vectors.json"), "w", encoding="utf-8") as file:
        json.dump(vectors, file, ensure_ascii=True, separators=(",", ":"))


def main():
    folder = sys.argv[1]
    llama = train("llama", 900)
    gemma = train("gemma", 900, add_dummy_prefix=False, allow_whitespace_only_pieces=True, user_defined_symbols=USER)
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    write(folder, "sp-llama", from_model(llama, [], normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), decoder=decoders.Sequence([*back, decoders.Strip(" ", 1, 0)])))
    added = [AddedToken("<tag>", normalized=True), AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False), AddedToken("word", single_word=True, normalized=False)]
    write(folder, "sp-added", from_model(llama, added, fuse_unk=False, normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), decoder=decoders.Sequence([*back, decoders.Strip(" ", 1, 0)])))
    for scheme in ("first", "always", "never"):
        write(folder, "sp-" + scheme, from_model(llama, [], pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme == "always"), decoder=decoders.Sequence([decoders.Metaspace(prepend_scheme=scheme), decoders.ByteFallback(), decoders.Fuse()])))
    write(folder, "sp-gemma", from_model(gemma, [AddedToken("<start_of_turn>", special=True, normalized=False), AddedToken("<end_of_turn>", special=True, normalized=False), AddedToken("▁▁▁▁▁", normalized=False)],
                                         normalizer=normalizers.Replace(" ", "▁"), pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"), decoder=decoders.Sequence(back)))
    splits = [pre_tokenizers.Split(Regex(r"[\r\n]"), "merged_with_previous"), pre_tokenizers.Split(Regex(r"\s+$"), "isolated"), pre_tokenizers.Split(Regex(r"[aeiou]+"), "merged_with_next"), pre_tokenizers.Split(Regex(r"\d"), "contiguous"), pre_tokenizers.Digits(individual_digits=True)]
    write(folder, "sp-splits", from_model(llama, [], pre_tokenizer=pre_tokenizers.Sequence([*splits, pre_tokenizers.Metaspace(prepend_scheme="first")]), decoder=decoders.Sequence(back)))
    write_scores(folder, "scores-llama", llama)
    write_scores(folder, "scores-gemma", gemma)


if __name__ == "__main__":
    main()
