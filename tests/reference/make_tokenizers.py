"""Trains small byte-level BPE tokenizers with the tokenizers library and writes what it makes of many texts.

usage: make_tokenizers.py FOLDER        needs the package tokenizers (0.19 or later); the tests need only what it wrote

Each FOLDER/NAME holds tokenizer.json, as the library saves it, and vectors.json: [{"text": ..., "ids": [...], "special": [...]}, ...], `ids` without
special tokens parsed from the text's own words, `special` as the library encodes by itself.
"""
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

ENGLISH = ("the ants cut leaves and carry them home where a fungus grows on them that feeds the whole colony it's a farm they'd say we'll see "
           "who's first don't worry I've been there you're right he'd go so they grow food like farmers with many workers every day").split()
CHINESE = "切叶蚁把叶子切成小片带回巢里用来种真菌整个蚁群都吃它今天天气很好我们一起去看看吧模型语言数据内存"
OTHER = ["naïve", "façade", "Straße", "Ελληνικά", "Привет", "мир", "שלום", "مرحبا", "नमस्ते", "สวัสดี", "한국어", "日本語", "ありがとう", "e\u0301cole", "Z\u0300\u0301"]
EMOJI = ["🙂", "👨‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"]
CODE = ["for (int i = 0; i < n; i++) {\n\tsum += a[i];\n}", "def f(x):\n    return x**2  # square\n", "<div class=\"a\">&amp;</div>", "SELECT * FROM t WHERE x >= 10;",
        "x = {'a': [1, 2.5e-3, None]}", "https://example.org/a?b=c&d=%20#e", "C:\\path\\to\\file", "a->b::c<d>()"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\u00a0", "\u3000", "\u2028", "\u200b", " \t \r\n "]
EDGES = ["\x00", "\x01\x02", "\x7f", "\x80", "\u07ff", "\u0800", "\ufffd", "\ufeff", "\uffff", "\U00010000", "\U0010ffff", "\ud7ff", "\ue000", "½", "Ⅷ", "①", "٣", "१२३", "²"]


def texts(rng):
    """Fixed cases first, then mixtures."""
    fixed = ["", " ", "a", " a", "a ", "Hello, world!", "I'M can'T WE'LL they'Ve 'S 's's", "''s", "1234567890", "3.14159", "1,000,000", "x1y22z333", "12 345",
             "a" * 300, "ab" * 200, "!" * 50, "." * 3, "-- --", "AbCdEf", "don’t", "`quoted`", "end.\n\nNew", "trailing   ", "   leading", "tab\tbetween",
             "line\r\nline\r\n", "mixed 中文 and English 混合123", "<|endoftext|>", "a<|im_start|>b", "<|im_end|><|im_end|>", " <|im_start|> ", "<|im_start", "|>",
             *CODE, *SPACES, *EDGES, *EMOJI, *OTHER]
    out = list(fixed)
    while len(out) < 420:
        parts = []
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if kind < 0.35: parts.append(rng.choice(ENGLISH))
            elif kind < 0.45: parts.append(rng.choice(ENGLISH).upper())
            elif kind < 0.55: parts.append("".join(rng.choice(CHINESE) for _ in range(rng.randint(1, 8))))
            elif kind < 0.62: parts.append(rng.choice(OTHER))
            elif kind < 0.68: parts.append(rng.choice(EMOJI))
            elif kind < 0.76: parts.append(str(rng.randint(0, 10 ** rng.randint(1, 9))))
            elif kind < 0.82: parts.append(rng.choice(EDGES))
            elif kind < 0.86: parts.append(rng.choice(SPECIAL))
            elif kind < 0.92: parts.append("".join(chr(rng.choice([rng.randint(33, 126), rng.randint(0xa1, 0x2ff), rng.randint(0x370, 0x1fff), rng.randint(0x1f300, 0x1faff)])) for _ in range(4)))
            else: parts.append(rng.choice(CODE))
            parts.append(rng.choice(SPACES + [" "] * 12 + [""] * 6))
        out.append("".join(parts))
    return out


def corpus(rng):
    for _ in range(4000):
        yield " ".join(rng.choice(ENGLISH) for _ in range(12)) + rng.choice([".", "!", "?\n", ", "])
        yield "".join(rng.choice(CHINESE) for _ in range(16)) + "。"
        yield rng.choice(CODE) + "\n" + rng.choice(OTHER) + rng.choice(EMOJI) + str(rng.randint(0, 99999))


def make(folder, name, splitter, ignore_merges=False, vocabulary=900):
    rng = random.Random(name)
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(rng), trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    tokenizer.save(os.path.join(path, "tokenizer.json"), pretty=False)
    with open(os.path.join(path, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"bos_token": SPECIAL[1], "eos_token": SPECIAL[2]}, file)
    # Without the special tokens among its added ones the same tokenizer takes their spelling as any other text.
    plain = Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_str()), "added_tokens": []}))
    vectors = []
    for text in texts(rng):
        with_special = tokenizer.encode(text, add_special_tokens=False).ids
        vectors.append({"text": text, "ids": plain.encode(text, add_special_tokens=False).ids, "special": with_special})
    with open(os.path.join(path, "vectors.json"), "w", encoding="utf-8") as file:
        json.dump(vectors, file, ensure_ascii=True, separators=(",", ":"))
    print(name, len(vectors), "texts,", tokenizer.get_vocab_size(), "tokens")


def byte_level(**options):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **options)


def main():
    folder = sys.argv[1]
    make(folder, "gpt2", byte_level(use_regex=True))
    make(folder, "smollm", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=True)]))
    llama3 = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated"), byte_level(use_regex=False)])
    make(folder, "llama3", llama3)
    make(folder, "llama3-ignore-merges", llama3, ignore_merges=True)


if __name__ == "__main__":
    main()
