"""The program itself before a driver that is there but of no use: one clear line and exit status 1, or the CPU and why. usage: unusable_driver_test.py LEAFCUTTER REFERENCE_FOLDER DRIVERS [unittest options]

DRIVERS holds told/libcuda.so.1, whose fault FAKE_DRIVER names, and functionless/libcuda.so.1."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM, REFERENCE, DRIVERS = map(os.path.abspath, sys.argv[1:4])

# What is wrong, and what the line must say of it.
FAULTS = {
    "old": ("CUDA 8.0", "newer driver"),
    "broken": ("cuInit", "CUDA_ERROR_UNKNOWN", "nvidia_uvm"),
    "stub": ("cuInit", "CUDA_ERROR_STUB_LIBRARY", "LD_LIBRARY_PATH"),
    "empty": ("no card", "nvidia-smi"),
    "lost": ("cuDeviceTotalMem_v2", "CUDA_ERROR_ECC_UNCORRECTABLE"),
    "old card": ("GTX 980", "5.2", "6.1"),
    "functionless": ("libcuda.so.1", "cuInit", "too old"),
}


class UnusableDriver(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.leaf = os.path.join(cls.folder, "tiny.leaf")
        os.environ["LEAFCUTTER_CACHE"] = os.path.join(cls.folder, "cache")
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        source = next(os.path.join(REFERENCE, name) for name in sorted(os.listdir(REFERENCE)) if os.path.exists(os.path.join(REFERENCE, name, "model.safetensors")))
        subprocess.run([PROGRAM, "compress", source, "-o", cls.leaf, "--format", "f32"], check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def call(self, fault, *arguments):
        folder = "functionless" if fault == "functionless" else "told"
        environment = {**os.environ, "LD_LIBRARY_PATH": os.path.join(DRIVERS, folder), "FAKE_DRIVER": fault}
        return subprocess.run([PROGRAM, *arguments], capture_output=True, timeout=120, env=environment, text=True)

    def run_arguments(self, *more):
        return ("run", self.leaf, "--ids", "1,2,3", "-n", "4", "--temp", "0", "--ignore-eos", *more)

    def test_a_card_that_is_asked_for_is_refused_in_one_line(self):
        for fault, words in FAULTS.items():
            commands = [self.run_arguments("--device", "cuda"), ("bench", self.leaf, "-p", "4", "-n", "2", "-r", "1", "--no-probe", "--device", "cuda"), ("selftest",)]
            for command in commands:
                with self.subTest(fault=fault, command=command[0]):
                    refused = self.call(fault, *command)
                    self.assertEqual(refused.returncode, 1, refused.stderr)
                    self.assertEqual(refused.stdout, "")
                    self.assertEqual(len(refused.stderr.splitlines()), 1, refused.stderr)
                    for word in (*words, "--device cpu"):
                        self.assertIn(word, refused.stderr)

    def test_auto_computes_on_the_cpu_and_says_why(self):
        want = json.loads(self.call("empty", *self.run_arguments("--json", "--device", "cpu")).stdout.splitlines()[-1])["ids"]
        for fault, words in FAULTS.items():
            with self.subTest(fault=fault):
                done = self.call(fault, *self.run_arguments("--json", "--device", "auto"))
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(json.loads(done.stdout.splitlines()[-1])["ids"], want)
                said = [line for line in done.stderr.splitlines() if "computing on the CPU" in line]
                self.assertEqual(len(said), 1, done.stderr)
                for word in words:
                    self.assertIn(word, said[0])

    def test_doctor_says_what_is_wrong_with_it(self):
        for fault, words in FAULTS.items():
            with self.subTest(fault=fault):
                told = self.call(fault, "doctor")
                self.assertEqual(told.returncode, 0, told.stderr)
                for word in words[:1]:
                    self.assertIn(word, told.stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
