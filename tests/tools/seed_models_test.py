"""The traps of small published models, in tiny folders with their configs, their kinds of tokenizer and random weights. usage: seed_models_test.py LEAFCUTTER REFERENCE_FOLDER [unittest options]

ChuXin: rows of the model past the tokenizer's ids, config.json with ids that are wrong, bos not to be added. Fox-1: bos and eos the other way round in config.json and generation_config.json,
<end_of_turn> as another end, a tied head. csg-wukong: 32003 ids, no multiple of any tile; rope_theta without scaling; a dtype in the config that the weights do not have.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import tiny_llama

PROGRAM = os.path.abspath(sys.argv[1])
TOKENIZERS = os.path.join(os.path.abspath(sys.argv[2]), "tokenizers")
GREEDY = ("--temp", 0)
WIDE = ("--temp", 2, "--top-k", 0, "--top-p", 1, "--min-p", 0)


def call(*arguments):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, timeout=120)
    assert result.returncode == 0, f"{arguments}: {result.stderr.decode()}"
    return result.stdout.decode()


def run(model, *arguments):
    """The tokens' objects and the closing one."""
    *tokens, done = map(json.loads, call("run", model, *arguments, "--json").splitlines())
    return tokens, done


def tokenizer(name):
    with open(os.path.join(TOKENIZERS, name, "tokenizer.json"), encoding="utf-8") as file:
        return json.load(file)


class SeedModels(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def leaf(self, name, *arguments, **model):
        source = tiny_llama.write(os.path.join(self.folder, name), *arguments, **model)
        path = os.path.join(self.folder, name + ".leaf")
        call("compress", source, "-o", path, "--format", "q8")
        return path

    def chuxin(self, name, loud):
        """903 ids, 1024 rows; `loud`: the rows of the head that shout."""
        return self.leaf(name, 1024, tokenizer("smollm"), config={"use_cache": False}, generation={"bos_token_id": 901, "eos_token_id": 902},
                         tokenizer_config={"add_bos_token": False, "bos_token": {"content": "<|im_start|>"}, "eos_token": {"content": "<|im_end|>"}},
                         head_scale=lambda token: 20.0 if token in loud else 1.0)

    def fox(self, name, loud):
        """pad 0, eos 1, bos 2, end of turn 4; 900 ids, 1000 rows, tied."""
        document = tokenizer("sp-gemma")
        names = {"<unk>": "<pad>", "<s>": "<eos>", "</s>": "<bos>"}
        words = document["model"]["vocab"]
        document["model"]["vocab"] = {names.get(word, word): number for word, number in words.items()}
        for added in document["added_tokens"]:
            added["content"] = names.get(added["content"], added["content"])
        document["model"]["unk_token"] = None
        return self.leaf(name, 1000, document, generation={"bos_token_id": 1, "eos_token_id": 2}, tied=True,
                         tokenizer_config={"tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
                         head_scale=lambda token: 8.0 if token in loud else 1.0)

    def test_ids_above_the_real_vocabulary_are_never_chosen(self):
        for model, limit in ((self.chuxin("padded", range(903, 1024)), 903), (self.fox("padded-tied", range(900, 1000)), 900)):
            for how in (GREEDY, WIDE, ("--temp", 1), ("--preset", "hf", "--temp", 1), ("--preset", "cpm-live", "--temp", 1), ("--beams", 3)):
                tokens, done = run(model, "Ants cut leaves", "-n", 60, "--seed", 3, "--ignore-eos", "--logprobs", 1, *how)
                self.assertEqual(len(done["ids"]), 60)
                self.assertLess(max(done["ids"]), limit, how)
                if how == GREEDY:  # and it is not for want of being the likeliest
                    self.assertGreater(sum(token["top"][0]["id"] >= limit for token in tokens), 30)

    def test_chuxin_ends_at_the_id_of_the_end_tokens_name(self):
        right = self.chuxin("ends", [902])
        _, done = run(right, "Ants", "-n", 200, *GREEDY)
        self.assertEqual((done["finish_reason"], done["ids"][-1]), ("stop", 902))
        _, done = run(self.chuxin("ends-not", [1, 2]), "Ants", "-n", 200, *GREEDY)  # what config.json calls begin and end
        self.assertEqual(done["finish_reason"], "length")
        self.assertTrue({1, 2} & set(done["ids"]))
        self.assertNotIn(901, run(right, "Ants", "-n", 1, *GREEDY)[1]["prompt_ids"])

    def test_fox_begins_and_ends_by_name(self):
        for end in (1, 4):
            model = self.fox(f"fox-ends-{end}", [end])
            _, done = run(model, "Ants", "-n", 200, *GREEDY)
            self.assertEqual((done["finish_reason"], done["ids"][-1]), ("stop", end))
            self.assertEqual(done["prompt_ids"][0], 2)
            self.assertEqual(done["prompt_ids"].count(2), 1)
        _, done = run(self.fox("fox-ends-not", [2]), "Ants", "-n", 200, *GREEDY)
        self.assertEqual(done["finish_reason"], "length")
        self.assertIn(2, done["ids"])

    def test_a_vocabulary_of_32003_ids(self):
        document = tokenizer("sp-llama")
        words = document["model"]["vocab"]
        words.update({f"<word {number}>": number for number in range(len(words), 32000)})
        document["added_tokens"] += [{"id": 32000 + i, "content": f"[extra {i}]", "special": False, "normalized": False} for i in range(3)]
        config = {"torch_dtype": "float16", "rope_scaling": None, "pad_token_id": 0}
        answers = []
        for name, theta in (("wukong", {}), ("wukong-same", {"rope_theta": 10000.0}), ("wukong-chat", {"rope_theta": 4000000.0})):
            model = self.leaf(name, 32003, document, config={**config, **theta}, head_scale=lambda token: 20.0 if token >= 31990 else 1.0,
                              tokenizer_config={"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
            tokens, done = run(model, "Ants cut leaves", "-n", 60, "--ignore-eos", "--logprobs", 1, *GREEDY)
            self.assertEqual([token["top"][0]["id"] for token in tokens], done["ids"])
            self.assertTrue(set(done["ids"]) & {32000, 32001, 32002})
            self.assertLess(max(done["ids"]), 32003)
            self.assertEqual(done["prompt_ids"][0], 1)
            self.assertLess(max(run(model, "Ants", "-n", 60, "--seed", 5, "--ignore-eos", *WIDE)[1]["ids"]), 32003)
            answers.append(done["ids"])
        self.assertEqual(answers[0], answers[1])
        self.assertNotEqual(answers[0], answers[2])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=1)
