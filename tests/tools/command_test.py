"""The command line as scripts rely on it: exit status, stdout, stderr, JSON. usage: command_test.py LEAFCUTTER REFERENCE_FOLDER [unittest options]"""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

import tiny_llama

PROGRAM = os.path.abspath(sys.argv[1])
REFERENCE = os.path.abspath(sys.argv[2])


# Set by CMake where the program is built with a sanitizer.
SANITIZED = "LEAFCUTTER_TEST_SANITIZED" in os.environ
LONG_SEARCH = "minutes of arithmetic with a sanitizer; the tests of the planner are there for that"


def call(*arguments, stdin=b"", environment=None, timeout=120):
    return subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, capture_output=True, timeout=timeout, env={**os.environ, **(environment or {})})


def objects(result):
    assert result.returncode == 0, f"{result.args[1:]}: status {result.returncode}, {result.stderr.decode(errors='replace')}"
    return [json.loads(line) for line in result.stdout.decode().splitlines()]


def lines(stderr):
    return [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]


class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.leaf = os.path.join(cls.folder, "tiny.leaf")
        cls.source = next(os.path.join(REFERENCE, name) for name in sorted(os.listdir(REFERENCE)) if os.path.exists(os.path.join(REFERENCE, name, "model.safetensors")))
        cls.cache = os.path.join(cls.folder, "cache")
        os.environ["LEAFCUTTER_CACHE"] = cls.cache
        done = call("compress", cls.source, "-o", cls.leaf, "--format", "f32")
        assert done.returncode == 0, done.stderr

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def fails(self, result, status, *parts):
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertLessEqual(len(lines(result.stderr)), 2)
        self.assertGreaterEqual(len(lines(result.stderr)), 1)
        for part in parts:
            self.assertIn(part, result.stderr.decode())

    def test_every_command_has_help(self):
        for name in ("compress", "inspect", "verify", "plan", "run", "eval", "score", "bench", "profile", "tokenize", "synth", "doctor", "selftest"):
            result = call(name, "--help")
            self.assertEqual(result.returncode, 0)
            self.assertIn(b"--json", result.stdout)

    def test_a_wrong_command_line_is_status_2(self):
        self.fails(call(), 2)
        self.fails(call("nonsense"), 2)
        self.fails(call("run"), 2)
        self.fails(call("run", self.leaf, "x", "--no-such-flag"), 2, "--no-such-flag")
        self.fails(call("run", self.leaf, "a prompt", "--ids", "1"), 2, "--ids")
        self.fails(call("run", self.leaf, "--ids", "1", "--memory", "lots"), 2, "lots")
        self.fails(call("run", self.leaf, "--ids", "1", "--temp", "-1"), 2)
        self.fails(call("compress", self.source, "-o", self.leaf, "--format", "q5"), 2, "q5")

    def test_how_a_disk_is_read_can_be_said_and_changes_nothing_else(self):
        run = ("run", self.leaf, "--ids", "5,6,7", "-n", 6, "--temp", 0, "--ignore-eos", "--json")
        for size in ("0", "1000", "4097", "8MiB", "50%"):
            self.fails(call(*run, "--io-size", size), 2, "--io-size", "multiple of 4096 up to 4MiB")
        self.fails(call(*run, "--io-size", "lots"), 2, "--io-size", "lots")
        for depth in ("0", "65", "-1", "many"):
            self.fails(call(*run, "--io-depth", depth), 2, "--io-depth")
        usual = objects(call(*run))[-1]["ids"]
        for size, depth in (("4096", 1), ("64KiB", 3), ("4MiB", 64)):
            self.assertEqual(objects(call(*run, "--io-size", size, "--io-depth", depth))[-1]["ids"], usual)

    def test_content_that_is_wrong_is_status_1(self):
        self.fails(call("inspect", os.path.join(self.folder, "none.leaf")), 1, "none.leaf")
        bad = os.path.join(self.folder, "bad.leaf")
        with open(bad, "wb") as file:
            file.write(b"no leaf at all" * 1000)
        for name in ("inspect", "verify", "tokenize"):
            self.fails(call(name, bad), 1, "bad.leaf")
        self.fails(call("run", bad, "--ids", "1"), 1, "bad.leaf")

    def test_a_damaged_chunk_is_named(self):
        damaged = os.path.join(self.folder, "damaged.leaf")
        shutil.copy(self.leaf, damaged)
        chunk = objects(call("inspect", self.leaf, "--json", "--chunks"))[0]["chunks"][-1]
        with open(damaged, "r+b") as file:
            file.seek(chunk["offset"] + 5)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 1]))
        self.fails(call("verify", damaged), 1, "damaged.leaf", str(chunk["offset"]))
        self.fails(call("run", damaged, "--ids", "1,2", "-n", "2"), 1, "damaged.leaf")
        self.assertEqual(call("verify", self.leaf).returncode, 0)

    def test_a_damaged_chunk_of_a_streamed_model_is_named(self):
        with open(PROGRAM, "rb") as program:
            if b"__asan_init" in program.read():
                self.skipTest("AddressSanitizer is charged with more than the program itself")
        leaf = os.path.join(self.folder, "streamed.leaf")
        self.assertEqual(call("synth", "smollm2-135m", "--format", "q4", "-o", leaf).returncode, 0)
        chunks = objects(call("inspect", leaf, "--json", "--chunks"))[0]["chunks"]
        run = ("run", leaf, "--ids", "1,2", "-n", 2, "--temp", 0, "--ignore-eos", "--json", "--lookup", "off", "--ctx-size", 16, "--threads", 1)
        least = int(re.search(r"--memory to (\d+)", call(*run, "--memory", "1MiB").stderr.decode()).group(1)) + (2 << 20)
        self.assertGreater(objects(call(*run, "--memory", least))[-1]["streamed_bytes"], 10 << 20)

        def flip(offset):
            with open(leaf, "r+b") as file:
                file.seek(offset)
                byte = file.read(1)
                file.seek(offset)
                file.write(bytes([byte[0] ^ 128]))

        for backend in ("threads", "auto"):
            for chunk in chunks[len(chunks) // 3], chunks[len(chunks) // 2]:
                flip(chunk["offset"] + 7)
                result = call(*run, "--memory", least, "--io", backend, timeout=20)
                flip(chunk["offset"] + 7)
                self.fails(result, 1, "streamed.leaf", str(chunk["offset"]))
                self.assertEqual(len(lines(result.stderr)), 1)
        os.remove(leaf)

    def test_run_prints_tokens_and_a_closing_object(self):
        result = call("run", self.leaf, "--ids", "5,6,7", "-n", 6, "--temp", 0, "--json", "--logprobs", 3, "--ignore-eos")
        self.assertEqual(result.returncode, 0, result.stderr)
        *tokens, done = objects(result)
        self.assertEqual([t["event"] for t in tokens], ["token"] * 6)
        self.assertEqual([t["index"] for t in tokens], list(range(6)))
        self.assertEqual(done["event"], "done")
        self.assertEqual(done["prompt_ids"], [5, 6, 7])
        self.assertEqual(done["ids"], [t["id"] for t in tokens])
        self.assertEqual(done["finish_reason"], "length")
        for token in tokens:
            self.assertEqual(len(token["top"]), 3)
            self.assertEqual(token["top"][0]["id"], token["id"])
            self.assertAlmostEqual(token["top"][0]["logprob"], token["logprob"])
            self.assertLess(token["logprob"], 0)
        self.assertLessEqual(done["memory"]["planned"], done["memory"]["budget"])

    def test_the_same_seed_gives_the_same_text(self):
        arguments = ("run", self.leaf, "--ids", "5,6,7", "-n", 12, "--temp", 1.5, "--json", "--ignore-eos")
        ids = [objects(call(*arguments, "--seed", seed))[-1]["ids"] for seed in (1, 1, 2)]
        self.assertEqual(ids[0], ids[1])
        self.assertNotEqual(ids[0], ids[2])

    def test_a_budget_that_cannot_work_is_refused_with_numbers(self):
        self.fails(call("run", self.leaf, "--ids", "1", "--memory", "1MiB"), 1, "--memory")
        self.fails(call("run", self.leaf, "--ids", "1,2,3", "-n", 10, "--ctx-size", 8), 1, "ctx-size")

    def test_a_checkpoint_is_converted_once(self):
        first = call("run", self.source, "--ids", "5,6", "-n", 2, "--temp", 0, "--json")
        self.assertEqual(first.returncode, 0, first.stderr)
        kept = os.listdir(self.cache)
        self.assertEqual(len([name for name in kept if name.endswith(".leaf")]), 1)
        second = call("run", self.source, "--ids", "5,6", "-n", 2, "--temp", 0, "--json")
        self.assertEqual(objects(first)[-1]["ids"], objects(second)[-1]["ids"])
        self.assertEqual(os.listdir(self.cache), kept)

    def test_a_conversion_is_made_anew_when_anything_that_went_into_it_changed(self):
        ant = os.path.join(REFERENCE, "..", "cpm_ant")
        cache = os.path.join(self.folder, "changing")
        environment = {"LEAFCUTTER_CACHE": cache, "VIRTUAL_ENV": os.path.join(self.folder, "environment")}

        def conversions(model):
            result = call("run", model, "--ids", "5,6", "-n", 1, "--temp", 0, environment=environment)
            self.assertEqual(result.returncode, 0, result.stderr)
            return len(os.listdir(cache))

        def write(path, text):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "a") as file:
                file.write(text)

        llama, cut = (shutil.copytree(path, os.path.join(self.folder, "changing-" + os.path.basename(path))) for path in (self.source, os.path.join(ant, "sprune")))
        expected = 0
        for model in (llama, cut, os.path.join(cut, "sprune.pt")):
            expected += 1
            self.assertEqual(conversions(model), expected)
            self.assertEqual(conversions(model), expected)
        self.assertEqual(conversions(os.path.join(llama, "")), expected)  # the same folder
        write(os.path.join(llama, "README.md"), "no part of it")
        self.assertEqual(conversions(llama), expected)
        for file, text in (("config.json", " "), ("generation_config.json", "{}"), ("tokenizer_config.json", "{}"), ("model.safetensors", "")):
            write(os.path.join(llama, file), text)
            os.utime(os.path.join(llama, file), ns=(1, 1))
            expected += 1
            self.assertEqual(conversions(llama), expected, file)
        for model in (cut, os.path.join(cut, "sprune.pt")):
            for file in ("sprune.json", "sprune.pt.cnofig.json", "masks.pt", "ant.txt"):
                write(os.path.join(cut, file), " " if file.endswith(".json") else "")
                os.utime(os.path.join(cut, file))
                expected += 1
                self.assertEqual(conversions(model), expected, file)
        packages = os.path.join(environment["VIRTUAL_ENV"], "lib", "python3.11", "site-packages")
        write(os.path.join(packages, "jieba", "dict.txt"), "\u8682\u8681 3 n\n")  # installed later
        for file, text in (("prob_start", "P={'B': -0.3, 'E': -3.14e+100, 'M': -3.14e+100, 'S': -1.5}"),
                           ("prob_trans", "P={'B': {'E': -0.5, 'M': -0.9}, 'E': {'B': -0.6, 'S': -0.8}, 'M': {'E': -0.3, 'M': -1.3}, 'S': {'B': -0.7, 'S': -0.7}}"),
                           ("prob_emit", "P={'B': {'\\u8682': -3.0}, 'E': {'\\u8681': -3.0}, 'M': {'\\u8681': -5.0}, 'S': {'\\u8681': -5.0}}")):
            write(os.path.join(packages, "jieba", "finalseg", file + ".py"), text + "\n")
        self.assertEqual(conversions(cut), expected + 1)
        self.assertEqual(conversions(llama), expected + 1)

    def test_eval_counts_windows_of_ids(self):
        ids = os.path.join(self.folder, "ids.txt")
        with open(ids, "w") as file:
            file.write(" ".join(str(i * 7 % 90 + 3) for i in range(70)))
        result = objects(call("eval", self.leaf, "--ids-file", ids, "--ctx-size", 32, "--json"))[-1]
        self.assertEqual(result["tokens"], 2 * 15)
        self.assertGreater(result["perplexity"], 1)
        self.fails(call("eval", self.leaf, "--ids-file", ids, "--ctx-size", 128), 1)

    def test_synth_makes_the_same_bytes_for_the_same_seed(self):
        one, two = (os.path.join(self.folder, name) for name in ("one.leaf", "two.leaf"))
        for path in (one, two):
            self.assertEqual(call("synth", "smollm2-135m", "--format", "q4", "-o", path).returncode, 0)
        with open(one, "rb") as a, open(two, "rb") as b:
            self.assertEqual(a.read(), b.read())
        self.fails(call("synth", "no-such-shape", "-o", one), 2, "no-such-shape")
        facts = objects(call("inspect", one, "--json"))[0]
        self.assertEqual(facts["model"]["parameters"], 134515008)

    def test_plan_says_what_run_will_do(self):
        # A program with AddressSanitizer in it is charged with more than 64 MiB before it begins.
        budget = "512MiB"
        plan = objects(call("plan", self.leaf, "-p", 1, "-n", 1, "--memory", budget, "--json"))[-1]
        for key in ("tokens_per_s", "first_token_s", "limit", "peak"):
            self.assertIn(key, plan)
        done = objects(call("run", self.leaf, "--ids", "1", "-n", 1, "--memory", budget, "--json"))[-1]
        self.assertEqual(plan["ctx_size"], done["ctx_size"])
        for prompt, tokens in ((3, 5), (40, 9), (90, 1)):  # the workspace follows the prompt, the context both
            wish = ("--memory", budget, "-n", tokens, "--json")
            plan = objects(call("plan", self.leaf, "-p", prompt, *wish))[-1]
            done = objects(call("run", self.leaf, "--ids", ",".join(["1"] * prompt), "--lookup", "off", "--ignore-eos", *wish))[-1]
            held = {entry["name"]: entry["bytes"] for entry in done["accounts"]}
            for buffer in plan["buffers"]:
                self.assertEqual(buffer["bytes"], held.get(buffer["name"], 0), buffer["name"])
            self.assertEqual(plan["resident_bytes"], held["resident weights"])
        # A disk so slow that any build, on any machine, waits for it: memory is what helps.
        shape = objects(call("plan", "llama-48x4096", "--format", "q4", "--memory", "3GiB", "--link", "disk=50MB", "--json"))[-1]
        self.assertGreater(shape["streamed_bytes"], 1 << 30)
        self.assertTrue(any("memory" in hint["change"] for hint in shape["advice"]))

    def test_a_plan_knows_links_batches_and_other_machines(self):
        common = ("plan", "llama-1.1b", "--format", "q4", "--memory", "400MiB", "--ctx-size", "256", "--json")
        slow, fast = (objects(call(*common, "--link", f"disk={rate}"))[-1] for rate in ("5MB", "10MB"))  # slow enough for any build to wait for it
        self.assertEqual(slow["limit"], "disk")
        self.assertAlmostEqual(fast["tokens_per_s"] / slow["tokens_per_s"], 2, delta=0.05)
        self.assertAlmostEqual(slow["tokens_per_s"] * slow["streamed_bytes"] / 5e6, 1, delta=0.05)
        batch = objects(call(*common, "--link", "disk=5MB", "--batch", "4"))[-1]
        self.assertGreater(batch["tokens_per_s"], 3 * slow["tokens_per_s"])
        huge = objects(call("plan", "llama-48x4096", "--memory", "2TiB", "--json"))[-1]
        self.assertEqual(huge["streamed_bytes"], 0)
        self.fails(call("plan", "llama-1.1b", "--link", "card=1GB"), 2, "--link")
        self.fails(call("plan", "llama-1.1b", "--link", "disk=0"), 2, "--link")

    def test_a_sweep_is_a_table_and_a_picture(self):
        picture = os.path.join(self.folder, "sweep.html")
        points = objects(call("plan", "llama-1.1b", "--sweep", "memory=8MiB:2GiB:6", "--link", "disk=5MB", "-o", picture, "--json"))
        self.assertEqual(len(points), 12)
        self.assertEqual({p["format"] for p in points}, {"q4", "q8"})
        self.assertFalse(points[0]["fits"])
        speeds = [p["tokens_per_s"] for p in points if p["fits"] and p["format"] == "q4"]
        self.assertGreater(speeds[-1], speeds[0])
        with open(picture) as page:
            self.assertIn("<svg", page.read())
        self.fails(call("plan", "llama-1.1b", "--sweep", "memory=2GiB"), 2, "--sweep")
        self.fails(call("plan", "llama-1.1b", "-o", picture), 2, "--sweep")

    @unittest.skipIf(SANITIZED, LONG_SEARCH)
    def test_a_plan_for_a_card_asks_nothing_of_this_machine(self):
        # A small model and little of the card: plans of 10B take a search that is long with a sanitizer.
        card = ("plan", "cpm-ant-1b", "--format", "q8", "--card", "gtx1060-6gb", "--device-memory", "700MiB", "--json")
        plan = objects(call(*card, "--memory", "16GiB"))[-1]
        for key in ("tokens_per_s", "first_token_s", "limit", "peak"):
            self.assertIn(key, plan)
        self.assertEqual(set(plan["peak"]), {"device", "host", "disk"})
        self.assertIn(plan["limit"], ("link", "device", "host", "disk", "check"))
        self.assertEqual([s["strategy"] for s in plan["strategies"]], ["streaming", "static split", "mixed"])
        for strategy in plan["strategies"]:
            self.assertLessEqual(strategy["tokens_per_s"], plan["tokens_per_s"])
        self.assertLessEqual(plan["peak"]["device"], plan["device"]["budget"])
        self.assertIn("--format q4", plan["advice"])
        text = call("plan", "cpm-ant-300m", "--card", "gtx1060-3gb").stdout.decode()
        self.assertIn("no card was asked", text)
        for strategy in ("streaming", "static split", "mixed"):
            self.assertIn(strategy, text)
        # An explicit flag goes before the row: a slower disk, where the disk is the limit.
        slow = (*card, "--memory", "600MiB")
        self.assertLess(objects(call(*slow, "--link", "disk=500MB"))[-1]["tokens_per_s"], objects(call(*slow))[-1]["tokens_per_s"] / 2)
        full, half = (objects(call(*card, "--link", link))[-1]["strategies"][0]
                      for link in ("device=11.4GB", "disk=3GB,device=5.7GB"))
        self.assertAlmostEqual(full["tokens_per_s"] / half["tokens_per_s"], 2, delta=0.05)
        for link in ("device=", "device=0", "card=1GB", "device", ",", "device=50%"):
            self.fails(call("plan", "cpm-ant-10b", "--card", "gtx1060-6gb", "--link", link), 2, "--link")
        self.fails(call("plan", "llama-1.1b", "--link", "device=1GB"), 2, "--card")
        self.fails(call("plan", "cpm-ant-10b", "--card", "gtx960"), 2, "gtx1060-6gb")
        self.fails(call("plan", "cpm-ant-10b", "--card", "gtx1060-6gb", "--host", "toaster"), 2, "desktop-ddr4")
        self.fails(call("plan", "cpm-ant-10b", "--device-memory", "1GiB"), 2, "--card")
        self.fails(call("plan", "cpm-ant-10b", "--card", "gtx1060-6gb", "--device-memory", "1"), 1, "--device-memory")
        self.fails(call("plan", "cpm-ant-10b", "--card", "gtx1060-6gb", "--memory", "1"), 1, "--memory")

    @unittest.skipIf(SANITIZED, LONG_SEARCH)
    def test_a_sweep_over_cards_is_a_table_and_a_picture(self):
        picture = os.path.join(self.folder, "cards.html")
        points = objects(call("plan", "smollm2-135m,cpm-ant-300m", "--sweep", "card=gtx1060-3gb,rtx4090", "-o", picture, "--json"))
        self.assertEqual(len(points), 8)
        self.assertEqual({p["card"] for p in points}, {"gtx1060-3gb", "rtx4090"})
        with open(picture) as page:
            page = page.read()
        self.assertIn("<svg", page)
        self.assertIn("gtx1060-3gb", page)
        self.assertEqual(len(objects(call("plan", "smollm2-135m", "--format", "q4", "--sweep", "card=all", "--json"))), 7)
        self.fails(call("plan", "cpm-ant-1b", "--sweep", "card=none"), 2, "rtx4090")

    def test_a_profile_is_a_page_and_a_trace(self):
        page, trace = os.path.join(self.folder, "profile.html"), os.path.join(self.folder, "trace.json")
        report = objects(call("profile", self.leaf, "-p", 8, "-n", 3, "-o", page, "--trace", trace, "--json"))[-1]
        self.assertEqual([phase["phase"] for phase in report["phases"]], ["load", "prompt", "decode"])
        self.assertEqual([phase["steps"] for phase in report["phases"]], [0, 1, 2])
        for phase in report["phases"]:
            self.assertGreater(phase["seconds"], 0)
        with open(page) as text:
            text = text.read()
        self.assertIn("<canvas", text)
        self.assertNotIn("src=", text)
        with open(trace) as events:
            events = json.load(events)["traceEvents"]
        steps = [e for e in events if e.get("cat") == "step"]
        self.assertEqual([e["name"] for e in steps], ["step of 8 rows", "step of 1 row", "step of 1 row"])
        layers = [e for e in events if e.get("cat") in ("attention", "feed-forward")]
        self.assertTrue(all(any(s["ts"] <= e["ts"] and e["ts"] + e["dur"] <= s["ts"] + s["dur"] + 1 for s in steps) for e in layers))
        self.assertGreater(len(layers), 0)
        again = os.path.join(self.folder, "run.json")
        self.assertEqual(call("run", self.leaf, "--ids", "1,2", "-n", 2, "--temp", 0, "--trace", again).returncode, 0)
        with open(again) as events:
            self.assertTrue(json.load(events)["traceEvents"])

    def test_a_throttled_link_changes_the_time_and_not_the_answer(self):
        run = ("run", self.leaf, "--ids", "1,2,3", "-n", 4, "--temp", 0, "--ignore-eos", "--json")
        free, throttled = (objects(call(*run, *more))[-1] for more in ((), ("--link", "disk=1MB")))
        self.assertEqual(free["ids"], throttled["ids"])
        self.assertGreater(throttled["load_s"], free["load_s"])

    def test_an_emulated_device_gives_the_same_answer_and_is_accounted_for(self):
        run = ("run", self.leaf, "--ids", "1,2,3", "-n", 4, "--temp", 0, "--ignore-eos", "--json")
        on_cpu = objects(call(*run))[-1]
        for more in (("--device-memory", "64MiB"), ("--card", "gtx1060-6gb"), ("--device-memory", "8MiB", "--link", "device=50MB,disk=100MB")):
            on_device = objects(call(*run, "--device", "emulated", *more))[-1]
            self.assertEqual(on_device["ids"], on_cpu["ids"], more)
            self.assertTrue(any(entry["tier"] == "device" for entry in on_device["accounts"]), more)
        self.fails(call(*run, "--device", "emulated", "--device-memory", "10KiB"), 1, "--device-memory")
        said = call(*run, "-v", "--device", "emulated", "--card", "gtx1060-6gb", "--device-memory", "8MiB").stderr.decode()
        for words in ("device: budget", "predicted for the card", "streaming", "static split", "mixed", "<- chosen"):
            self.assertIn(words, said)
        self.fails(call(*run, "--device", "emulated", "--card", "gtx960"), 2, "gtx1060-6gb")
        self.fails(call(*run, "--device", "emulated", "--card", "gtx1060-6gb", "--host", "toaster"), 2, "desktop-ddr4")
        # Each flag is right by itself.
        self.fails(call(*run, "--device", "cpu", "--card", "gtx1060-6gb"), 2, "--card", "--device emulated")
        self.fails(call(*run, "--device", "cpu", "--link", "device=1GB"), 2, "--link device", "--device emulated")
        self.fails(call("bench", self.leaf, "--device", "emulated", "--clock", "virtual"), 2, "--clock virtual", "--card")
        self.fails(call(*run, "--device", "emulated", "--link", "tape=1GB"), 2, "--link")
        self.fails(call(*run, "--device-memory", "1GiB"), 1, "--device emulated")

    def test_without_a_driver_a_card_is_refused_in_one_line_and_auto_says_why_it_takes_the_cpu(self):
        run = ("run", self.leaf, "--ids", "1,2,3", "-n", 4, "--temp", 0, "--ignore-eos")
        on_cpu = objects(call(*run, "--json", "--device", "cpu"))[-1]["ids"]
        facts = objects(call("doctor", "--json"))[-1]["card"]
        if facts["used"]:
            self.skipTest("there is a card: " + facts["text"])
        for command in (run, ("bench", self.leaf, "-p", 4, "-n", 2, "-r", 1, "--no-probe")):
            refused = call(*command, "--device", "cuda")
            self.fails(refused, 1, "--device cpu")
            self.assertEqual(len(lines(refused.stderr)), 1)
            self.assertIn("driver", lines(refused.stderr)[0])
            self.fails(call(*command, "--device", "cuda", "--gpu", 3, "--device-memory", "2GiB"), 1, "driver")
        usual = call(*run, "--json", "--device", "auto")
        self.assertEqual(objects(usual)[-1]["ids"], on_cpu)
        self.assertEqual(sum("computing on the CPU" in line and "driver" in line for line in lines(usual.stderr)), 1)
        self.assertNotIn(b"computing on the CPU", call(*run).stderr)  # not asked for
        self.fails(call(*run, "--gpu", "-1"), 2, "--gpu")
        self.fails(call(*run, "--cublas", "on"), 1, "--cublas on", "--device cuda")
        self.fails(call(*run, "--cublas", "on", "--device", "emulated"), 1, "--cublas on")
        self.fails(call(*run, "--cublas", "maybe"), 2, "--cublas")
        self.assertEqual(objects(call(*run, "--json", "--cublas", "auto"))[-1]["ids"], on_cpu)
        self.fails(call("plan", self.leaf, "--device", "cuda"), 1, "--device cuda")

    def test_selftest_checks_the_emulated_device_and_writes_one_json(self):
        output = os.path.join(self.folder, "selftest.json")
        table = call("selftest", "--device", "emulated", "--device-memory", "32MiB", "-o", output)
        self.assertEqual(table.returncode, 0, table.stdout + table.stderr)
        with open(output) as file:
            facts = json.load(file)
        self.assertEqual(facts["failed"], 0)
        names = [line["name"] for line in facts["lines"]]
        for part in ("copies of rows", "product q4,", "product bf16,", "attention q8, heads of 128", "tiny LLaMA in q4", "tiny CPM-Ant in q4", "tiny CPM-Ant in f16", "device memory", "copies and kernels at a time"):
            self.assertTrue(any(part in name for name in names), part)
        self.assertEqual(len(table.stdout.splitlines()), len(names) + 2)
        if not objects(call("doctor", "--json"))[-1]["card"]["used"]:
            self.fails(call("selftest"), 1, "driver", "--device cpu")

    def test_drafts_change_nothing_and_are_counted(self):
        prompt = ",".join(["5,6,7,8,9,10,11,12"] * 3)
        for sampling in (("--temp", 0), ("--temp", 0.9, "--seed", 4, "--repeat-penalty", 1.3)):
            run = ("run", self.leaf, "--ids", prompt, "-n", 60, *sampling, "--ignore-eos", "--json", "--logprobs", 2)
            plain = objects(call(*run, "--lookup", "off"))
            self.assertEqual(plain[-1]["speculation"]["lookup"]["steps"], 0)
            for more in (("--lookup", "on"), ("--lookup", "auto"), ("--lookup", "off", "--draft", self.leaf, "--draft-tokens", 5), ("--draft", self.leaf)):
                drafted = objects(call(*run, *more))
                self.assertEqual(plain[:-1], drafted[:-1])
                self.assertEqual(plain[-1]["ids"], drafted[-1]["ids"])
                counts = drafted[-1]["speculation"]
                for kind in ("lookup", "model"):
                    self.assertLessEqual(counts[kind]["accepted"], counts[kind]["drafted"])
                self.assertEqual(counts["steps"] + counts["lookup"]["accepted"] + counts["model"]["accepted"], 59)
        greedy = objects(call("run", self.leaf, "--ids", prompt, "-n", 61, "--temp", 0, "--ignore-eos", "--lookup", "off", "--draft", self.leaf, "--draft-tokens", 5, "--json"))[-1]
        self.assertEqual(greedy["speculation"]["model"]["acceptance"], 1)
        self.assertIn("draft model", [entry["name"] for entry in greedy["accounts"]])

    def test_a_sibling_drafts_for_cpm_ant_within_the_budget(self):
        large, small = (os.path.join(self.folder, name + ".leaf") for name in ("tiny-ant", "tiny-ant-draft"))
        ant = os.path.join(REFERENCE, "..", "cpm_ant")
        for folder, leaf in (("tiny", large), ("tiny-draft", small)):
            self.assertEqual(call("compress", os.path.join(ant, folder), "-o", leaf, "--format", "q4").returncode, 0)
        with open(os.path.join(ant, "tiny", "text.ids")) as text:
            prompt = ",".join(text.read().split()[:60])
        run = ("run", large, "--ids", prompt, "-n", 50, "--temp", 0, "--ignore-eos", "--json")
        plain = objects(call(*run, "--lookup", "off"))[-1]
        drafted = objects(call(*run, "--lookup", "off", "--draft", small, "--draft-tokens", 3))[-1]
        self.assertEqual(plain["ids"], drafted["ids"])
        self.assertGreater(drafted["speculation"]["model"]["acceptance"], 0.1)
        self.fails(call(*run, "--draft", self.leaf), 1, "tiny.leaf", "vocabulary", large)
        with open(PROGRAM, "rb") as program:
            if b"__asan_init" in program.read():
                return  # it is charged with more than the program itself
        refusal = call(*run, "--draft", small, "--memory", "2MiB")
        self.fails(refusal, 1, "draft model", "--memory")
        least = int(re.search(r"--memory to (\d+)", refusal.stderr.decode()).group(1)) + (1 << 20)
        tight = objects(call(*run, "--draft", small, "--draft-tokens", 3, "--memory", least))[-1]
        self.assertEqual(plain["ids"], tight["ids"])
        self.assertLessEqual(tight["memory"]["peak"], least)
        self.assertGreater(tight["streamed_bytes"], 0)

    def test_drafts_that_cannot_be_are_refused(self):
        run = ("run", self.leaf, "--ids", "1,2", "-n", 2)
        self.fails(call(*run, "--lookup", "perhaps"), 2, "--lookup")
        self.fails(call(*run, "--draft-tokens", 3), 2, "--draft")
        self.fails(call(*run, "--draft", self.leaf, "--draft-tokens", 99), 2, "--draft-tokens")
        self.fails(call(*run, "--draft", self.leaf, "--beams", 2), 2, "--draft", "beam")
        self.fails(call(*run, "--draft", os.path.join(self.folder, "none.leaf")), 1, "none.leaf")
        broken = os.path.join(self.folder, "broken-draft.leaf")
        with open(broken, "wb") as file:
            file.write(b"no leaf at all" * 1000)
        self.fails(call(*run, "--draft", broken), 1, "broken-draft.leaf")
        searched = call(*run, "--beams", 2, "-v")
        self.assertEqual(searched.returncode, 0)
        self.assertIn(b"look-up: off", searched.stderr)

    def test_a_failed_compress_leaves_nothing(self):
        folder = os.path.join(self.folder, "out")
        os.makedirs(folder)
        self.fails(call("compress", os.path.join(self.folder, "nothing"), "-o", os.path.join(folder, "x.leaf")), 1)
        self.assertEqual(os.listdir(folder), [])

    def test_a_header_without_end_is_refused_within_64_mib(self):
        with open(PROGRAM, "rb") as program:
            if b"__asan_init" in program.read():
                self.skipTest("AddressSanitizer keeps what was freed")
        endless = os.path.join(self.folder, "endless.gguf")
        key = b"tokenizer.ggml.tokens"
        with open(endless, "wb") as file:  # an array of 2^31 empty strings
            file.write(b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, len(key)) + key + struct.pack("<IIQ", 9, 8, 1 << 31))
            file.truncate(20 << 30)
        process = subprocess.Popen([PROGRAM, "compress", endless, "-o", os.path.join(self.folder, "endless.leaf")], stderr=subprocess.PIPE)
        stderr = process.stderr.read()
        process.stderr.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.fails(subprocess.CompletedProcess([], process.returncode, b"", stderr), 1, "endless.gguf", "tokenizer.ggml.tokens")
        self.assertLessEqual(usage.ru_maxrss, 64 << 10)

    def test_the_largest_position_bias_is_not_read_whole(self):
        with open(PROGRAM, "rb") as program:
            if b"__asan_init" in program.read():
                self.skipTest("AddressSanitizer keeps what was freed")
        heads, vocabulary, dim = 2048, 16, 16
        shapes = {"encoder.output_layernorm.weight": [dim], "prompt_embedding.weight": [1, dim], "segment_embedding.weight": [64, dim], "input_embedding.weight": [vocabulary, dim],
                  "position_bias.relative_attention_bias": [64 * 64 + (1 << 14), heads], "encoder.layers.0.self_att.layernorm_before_attention.weight": [dim]}
        for part, shape in (("project_q", [heads, dim]), ("project_k", [heads, dim]), ("project_v", [heads, dim]), ("attention_out", [dim, heads])):
            shapes[f"encoder.layers.0.self_att.self_attention.{part}.weight"] = shape
        header, end = {}, 0
        for name, shape in shapes.items():
            size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
            end += size
        source = os.path.join(self.folder, "wide")
        os.makedirs(source)
        text = json.dumps(header).encode()
        with open(os.path.join(source, "model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + end)  # zeros that need no disk
        with open(os.path.join(source, "config.json"), "w") as file:
            json.dump({"vocab_size": vocabulary, "eps": 1e-6, "half": True, "mask_modules": [[False, True]], "dim_model": dim, "dim_ff": 16, "num_layers": 1, "num_heads": heads, "dim_head": 1,
                       "prompt_types": 1, "prompt_length": 1, "segment_types": 64, "position_bias_num_buckets": 1 << 14, "position_bias_max_distance": 1 << 14}, file)
        target = os.path.join(self.folder, "wide.leaf")
        process = subprocess.Popen([PROGRAM, "compress", source, "-o", target], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        stderr = process.stderr.read()
        process.stderr.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0, stderr)
        self.assertGreater(os.path.getsize(target), 160 << 20)
        os.remove(target)
        self.assertLessEqual(usage.ru_maxrss, 300 << 10)

    def test_ctrl_c_ends_a_generation_with_one_line(self):
        process = subprocess.Popen([PROGRAM, "run", self.leaf, "--ids", "5", "-n", "100000", "--ctx-size", "100100", "--ignore-eos", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertLessEqual(len(lines(stderr)), 2)

    def test_version_names_the_format(self):
        self.assertRegex(call("--version").stdout.decode(), r"leafcutter \d+\.\d+\.\d+ \(.*file format 1")

    def test_doctor_speaks_of_disk_and_memory(self):
        facts = objects(call("doctor", "--json"))[-1]
        for topic in ("processor", "memory", "disk", "io_uring"):
            self.assertIn(facts[topic]["verdict"], ("ok", "note", "bad"))


CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


class Talk:
    """`run --chat` on a terminal."""

    def __init__(self, *arguments):
        self.master, terminal = pty.openpty()
        attributes = termios.tcgetattr(terminal)
        attributes[1] &= ~termios.OPOST
        attributes[3] &= ~termios.ECHO
        attributes[3] |= termios.NOFLSH  # or Ctrl-C would throw away what was shown and not read yet
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)

        def own_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen([PROGRAM, "run", *map(str, arguments), "--chat"], stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, preexec_fn=own_terminal)
        os.close(terminal)

    def type(self, text):
        os.write(self.master, text)

    def read_until(self, done, seconds=60):
        text, end = b"", time.monotonic() + seconds
        while not done(text):
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"nothing more within {seconds} s after {text[-200:]!r}")
            text += os.read(self.master, 1 << 16)
        return text

    def at_prompt(self):
        """What was shown until the next question may be asked."""
        text = self.read_until(lambda text: text.endswith(b"> "))
        return text[:-2].decode().rstrip("\n")

    def end(self):
        """Exit status and stderr."""
        stderr = self.process.communicate(timeout=60)[1]
        os.close(self.master)
        return self.process.returncode, stderr


class Conversation(unittest.TestCase):
    """Ctrl-C in `run --chat`: a model that says nothing but lower-case letters, and never ends."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        smollm = os.path.join(REFERENCE, "..", "tokenizers", "smollm", "tokenizer.json")
        with open(smollm, encoding="utf-8") as file:
            words = json.load(file)["model"]["vocab"]
        letters = {words[chr(letter)] for letter in range(ord("a"), ord("z") + 1)}
        source = tiny_llama.write(os.path.join(cls.folder, "letters"), 903, smollm, tokenizer_config={"chat_template": CHATML, "eos_token": "<|im_end|>"},
                                  head_scale=lambda token: float(token in letters))
        cls.leaf = os.path.join(cls.folder, "letters.leaf")
        assert call("compress", source, "-o", cls.leaf, "--format", "f32").returncode == 0
        cls.arguments = (cls.leaf, "-n", 50000, "--ctx-size", 120000, "--temp", 0)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def answer(self, talk, question):
        """Asks, and cuts the answer off."""
        talk.type(question + b"\n")
        begun = talk.read_until(lambda text: len(text) >= 40).decode()
        talk.type(b"\x03")
        return begun + talk.at_prompt()

    def test_ctrl_c_ends_the_answer_and_the_conversation_goes_on_from_what_was_shown(self):
        talk = Talk(*self.arguments)
        talk.at_prompt()
        first = self.answer(talk, b"why?")
        second = self.answer(talk, b"and then?")
        talk.type(b"\x04")
        status, stderr = talk.end()
        self.assertEqual(status, 0, stderr)
        self.assertRegex(first, r"\A[a-z]+\Z")
        whole = f"<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\n{first}<|im_end|>\n<|im_start|>user\nand then?<|im_end|>\n<|im_start|>assistant\n"
        alone = objects(call("run", self.leaf, whole, "--special", "--temp", 0, "-n", 40, "--json"))[-1]
        self.assertEqual(second[:len(alone["text"])], alone["text"])
        other = objects(call("run", self.leaf, whole.replace(first, first[:-1]), "--special", "--temp", 0, "-n", 40, "--json"))[-1]
        self.assertNotEqual(other["text"], alone["text"])  # what was cut off matters

    def test_ctrl_c_at_the_prompt_ends_the_conversation(self):
        talk = Talk(*self.arguments)
        talk.at_prompt()
        talk.type(b"\x03")
        status, stderr = talk.end()
        self.assertEqual(status, 130, stderr)

    def test_ctrl_c_at_the_prompt_behind_an_answer_that_was_cut_off_ends_it_too(self):
        talk = Talk(*self.arguments)
        talk.at_prompt()
        self.answer(talk, b"why?")
        talk.type(b"\x03")
        self.assertEqual(talk.end()[0], 130)

    def test_sigterm_ends_the_conversation_in_the_middle_of_an_answer(self):
        talk = Talk(*self.arguments)
        talk.at_prompt()
        talk.type(b"why?\n")
        talk.read_until(lambda text: len(text) >= 40)
        talk.process.send_signal(signal.SIGTERM)
        status, stderr = talk.end()
        self.assertEqual(status, 1, stderr)
        self.assertEqual(len(lines(stderr)), 1)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=1)
