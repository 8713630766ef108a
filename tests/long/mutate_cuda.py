#!/usr/bin/env python3
"""Plants one mistake after another into the kernels for NVIDIA cards, their launches and the layer over the driver, and sees that the tests find each. Standard library only.

usage: mutate_cuda.py SOURCE_FOLDER BUILD_FOLDER [COMPILER] [--only WORD]    BUILD_FOLDER: not sanitized, with its tests built
--only: the programs of tests in whose names WORD is.
"""
import dataclasses
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from mutations import tell

only = sys.argv.pop(sys.argv.index("--only") + 1) if "--only" in sys.argv else ""
arguments = [argument for argument in sys.argv[1:] if argument != "--only"]
source, build, compiler = pathlib.Path(arguments[0]), pathlib.Path(arguments[1]), (arguments[2] if len(arguments) > 2 else "c++")

EMULATION = build / "tests/support/cuda_emulation/CMakeFiles/leafcutter_cuda_emulation.dir"
KERNELS = [build / f"{folder}/libleafcutter_{folder}.a" for folder in ("kernels", "base")]
OFFLOAD = [*(build / f"{folder}/libleafcutter_{folder}.a" for folder in ("offload", "compress", "quant")), *KERNELS, "-luring", "-lzstd", "-lxxhash"]


@dataclasses.dataclass
class Group:
    """One program of tests. parts: sources that are compiled, anew whenever they, or what they include, hold a mistake. links: object files and libraries. timeout_s: for a run; one that takes longer counts as found.
    slow: a test that is run although its name begins with "slow:", where all others pass."""

    parts: list
    mutations: list
    links: list
    timeout_s: int = 120
    slow: str = ""


def family(kernels, shapes, test, mutations, timeout_s=120):
    """The tests of one family of kernels, with all other kernels as they are."""
    others = [made for made in sorted(EMULATION.rglob("*.o")) if made.name.removesuffix(".o") not in kernels]
    return Group(
        parts=[*(f"kernels/cuda/{kernel}" for kernel in kernels), *(f"kernels/cuda/{shape}" for shape in shapes), f"tests/kernels/cuda/{test}"],
        mutations=mutations, links=[*others, *KERNELS], timeout_s=timeout_s)


RMS, GATE, ADD, ROTATE = "kernels/cuda/rms_norm.cu", "kernels/cuda/gate.cu", "kernels/cuda/add.cu", "kernels/cuda/rotate.cu"
QUANTIZE, STORE = "kernels/cuda/quantize_rows.cu", "kernels/cuda/store_kv.cu"
WEIGHTS, ROWS, TILE, QUANTIZED_TILE = (f"kernels/cuda/product_{part}.cuh" for part in ("weights", "rows", "tile", "quantized_tile"))
ATTEND, KV_ROWS = "kernels/cuda/attend.cu", "kernels/cuda/kv_rows.cuh"
LIBRARY, LIBRARY_SHAPE = "kernels/cuda/library_product.cu", "kernels/cuda/library_product_shape.cpp"

GROUPS = [
    family(["rms_norm.cu"], ["rms_norm_shape.cpp"], "rms_norm_test.cpp", [
        ("rms_norm: no barrier before the sums of the warps are read", RMS, "  sync_block();\n", ""),
        ("rms_norm: a barrier that only some warps reach", RMS, "  sync_block();\n", "  if (warp() < 4) sync_block();\n"),
        ("rms_norm: one value too many at the tail", RMS, "i < a.width; i += kRmsNormThreads) squares", "i <= a.width; i += kRmsNormThreads) squares"),
        ("rms_norm: the last warp's sum is left out", RMS, "w < kRmsNormThreads / kWarp", "w + 1 < kRmsNormThreads / kWarp"),
        ("rms_norm: the stride of x for y", RMS, "at<float>(a.y) + block_x() * a.y_stride", "at<float>(a.y) + block_x() * a.width"),
        ("rms_norm: one block for all rows", "kernels/cuda/rms_norm_shape.cpp", "grid_for(kFunctions[0], a.rows, 1)", "grid_for(kFunctions[0], a.rows, a.rows + 1)"),
    ]),
    family(["gate.cu", "add.cu"], ["elementwise_shape.cpp"], "elementwise_test.cpp", [
        ("gate: one value past the end", GATE, "if (i < a.n)", "if (i <= a.n)"),
        ("gate: the tail on the wrong side of zero", GATE, "x < 0 ? tail : 1 - tail", "x > 0 ? tail : 1 - tail"),
        ("gate: the wrong one of three entry points", "kernels/cuda/elementwise_shape.cpp", "kGate[static_cast<std::size_t>(a.gate)]", "kGate[0]"),
        ("add: one value past the end", ADD, "if (i < a.n)", "if (i <= a.n)"),
        ("add: a block for the last values is missing", "kernels/cuda/elementwise_shape.cpp", "grid_for(function, n, kElementwiseThreads)", "static_cast<std::uint32_t>(n / kElementwiseThreads)"),
    ]),
    family(["rotate.cu"], ["rotate_shape.cpp"], "rotate_test.cpp", [
        ("rotate: angles of the first row for all rows", ROTATE, "block_x() * a.half + i", "std::uint64_t{0} * a.half + i"),
        ("rotate: the second of a pair is turned the other way", ROTATE, "second * cos + first * sin", "second * cos - first * sin"),
        ("rotate: pairs side by side instead of half a head apart", ROTATE, "x[half] = second", "x[1] = second"),
        ("rotate: one head past the last", ROTATE, "if (head >= a.heads)", "if (head > a.heads)"),
    ]),
    family(["quantize_rows.cu"], ["quantize_rows_shape.cpp"], "quantize_rows_test.cpp", [
        ("quantize_rows: records row by row instead of group by group", QUANTIZE, "[group * a.rows + block_x()]", "[block_x() * ((a.k + 31) / 32) + group]"),
        ("quantize_rows: a value past the end of the row", QUANTIZE, "i < a.k ?", "i <= a.k ?"),
        ("quantize_rows: the scale of 128 steps", QUANTIZE, "largest / 127 : 0", "largest / 128 : 0"),
        ("quantize_rows: a group that is not whole is left out", QUANTIZE, "if (group * kernels::kActivationGroup >= a.k)", "if ((group + 1) * kernels::kActivationGroup > a.k)"),
        ("quantize_rows: the offset's sign", QUANTIZE, "-128 * sum", "128 * sum"),
    ]),
    family(["store_kv.cu"], ["store_kv_shape.cpp"], "store_kv_test.cpp", [
        ("store_kv: the row's number instead of its slot", STORE, "at<std::uint32_t>(a.slots)[row]", "row"),
        ("store_kv: values where keys belong", STORE, "keys ? a.k : a.v", "keys ? a.v : a.k"),
        ("store_kv: the scale of the next group", STORE, "scales[group] =", "scales[(group + 1) % groups] ="),
        ("store_kv: scales side by side with their codes", STORE, "row.to + groups * kGroup)", "row.to + (groups - 1) * kGroup)"),
        ("store_kv: half rows that are not padded", STORE, "(a.head_dim + 1) / 2 * 2 * sizeof", "a.head_dim * sizeof"),
    ]),
    family(["product_q4.cu", "product_q8.cu"], ["product_shape.cpp"], "product_test.cpp", [
        ("product: no barrier before partial sums are added up", ROWS, "  sync_block();\n", ""),
        ("product: the scale of the next group", WEIGHTS, "+ group % 4 * kernels::group_shape(kLayout).group_head;", "+ (group + 1) % 4 * kernels::group_shape(kLayout).group_head;"),
        ("product: nibbles the other way round", WEIGHTS, "i == 0 ? packed : packed >> 4", "i == 0 ? packed >> 4 : packed"),
        ("product: activations of the first rows for all", ROWS, "+ block.first_row) * kRecord", "+ block.first_row * 0) * kRecord"),
        ("product: an output past the last", WEIGHTS, "output >= a.outputs", "output > a.outputs"),
        ("product tile: no barrier between two steps", QUANTIZED_TILE, "    turn(places);\n    sync_block();\n", "    turn(places);\n"),
        ("product tile: one row of the second half is none", TILE, ">= kTileRows / 2; }", "> kTileRows / 2; }"),
        ("product tile: the next step over the one that is read", QUANTIZED_TILE, "  places.new_outputs += places.turn;\n  places.new_rows += places.turn;\n  TileSums", "  TileSums"),
        ("product: sums in another order for few rows than for many", ROWS, "total += row[p * kStripRows]", "total += row[(kProductPartials - 1 - p) * kStripRows]"),
    ], timeout_s=300),
    family(["attend.cu"], ["attend_shape.cpp"], "attend_test.cpp", [
        ("attend: a key that the row does not see", ATTEND, "key < queries[t].visible", "key <= queries[t].visible"),
        ("attend: no barrier before the warps' sums are put together", ATTEND, "sums.y[first + i / kDims][i % kDims];\n      sync_block();\n", "sums.y[first + i / kDims][i % kDims];\n"),
        ("attend: what was added up before keeps its weight", ATTEND, "sums.y[t][d] *= kept;", "sums.y[t][d] *= 1;"),
        ("attend: the scale of another group of codes", KV_ROWS, "first / kKvGroup * 4));", "(first + dims - 1) / kKvGroup % 2 * 4));"),
        ("attend: the bias of the key before", ATTEND, "distance = static_cast<int>(key) - q.position", "distance = static_cast<int>(key) - 1 - q.position"),
    ], timeout_s=300),
    family(["library_product.cu"], ["library_product_shape.cpp"], "library_product_test.cpp", [
        ("unpack_strips: strip by strip instead of line by line", LIBRARY, "(line * a.strips + strip) * kLineBytes", "(strip * a.k + line) * kLineBytes"),
        ("unpack_strips: strips of odd k end with half a line", LIBRARY, "(a.k + a.k % 2) * kLineBytes", "a.k * kLineBytes"),
        ("unpack_strips: a block for the last lines is missing", LIBRARY_SHAPE, "grid_for(kUnpack[0], a.k, kUnpackLines)", "grid_for(kUnpack[0], a.k / kUnpackLines, 1)"),
        ("halve_rows: no barrier before the warps' largest values are read", LIBRARY, "  sync_block();\n", ""),
        ("halve_rows: the scale of the next power of two", LIBRARY, "float_of((exponent - kWanted) <<", "float_of((exponent - kWanted + 1) <<"),
        ("halve_rows: the stride of x for halves", LIBRARY, "at<std::uint16_t>(a.halves) + block_x() * a.k;", "at<std::uint16_t>(a.halves) + block_x() * a.x_stride;"),
        ("finish_rows: the scale of the first row for all", LIBRARY, "at<float>(a.scales)[block_x()] * a.factor", "at<float>(a.scales)[0] * a.factor"),
        ("finish_rows: a bias where there is none", LIBRARY, "(a.bias.value ? at<float>(a.bias)[output] : 0)", "at<float>(a.bias)[output]"),
    ]),
]

DEVICE, BLAS = "offload/cuda_device.cpp", "offload/cublas_products.cpp"
SET_STREAM = "  check(library_.set_stream, handle_.get(), stream);\n"
SET_WORKSPACE = "  check(library_.set_workspace, handle_.get(), pointer(workspace_), std::size_t{kLibraryBytes});\n"
GROUPS += [
    Group(["offload/cuda_device.cpp", "offload/cublas_products.cpp", "tests/support/fake_cuda.cpp", "tests/support/fake_cublas.cpp",
           "tests/offload/cuda/cuda_device_test.cpp", "tests/offload/cuda/cublas_products_test.cpp"], [
        ("driver: an event recorded on the first stream", DEVICE, "event_of(event), stream_of(stream));\n  }\n\n  void wait", "event_of(event), streams_[0]);\n  }\n\n  void wait"),
        ("driver: the wrong stream waits for an event", DEVICE, "stream_of(stream), event_of(event), 0u", "streams_[0], event_of(event), 0u"),
        ("driver: nobody waits for an event", DEVICE, "    check(driver_.stream_wait, \"ordering two streams\", DeviceFailure::launch, stream_of(stream), event_of(event), 0u);\n", "    (void)stream, (void)event;\n"),
        ("driver: rows and blocks of a launch are swapped", DEVICE, "shape.grid[0], shape.grid[1], shape.grid[2],\n", "shape.grid[1], shape.grid[0], shape.grid[2],\n"),
        ("driver: threads and shared memory are swapped", DEVICE, "shape.threads, 1u, 1u, shape.shared_bytes", "shape.shared_bytes, 1u, 1u, shape.threads"),
        ("driver: source and target of a copy are swapped", DEVICE, "copy.from_pitch = shape.from_stride;\n    copy.to_pitch = shape.to_stride;", "copy.from_pitch = shape.to_stride;\n    copy.to_pitch = shape.from_stride;"),
        ("driver: memory that is not pinned is given back before its copy ended", DEVICE, "    if (!is_pinned(from, extent(shape, shape.from_stride))) finish(stream);\n", ""),
        ("driver: memory is not given back", DEVICE, "    attempt(driver_.memory_free, address.value);\n", ""),
        ("driver: streams are not destroyed", DEVICE, "      for (const CudaStream stream : streams_) attempt(driver_.stream_destroy, stream);\n", ""),
        ("driver: the second context is kept", DEVICE, "    if (measuring_) attempt(driver_.context_destroy, measuring_);\n", ""),
        ("driver: a lost device goes on", DEVICE, "    if (is_lost(result)) {\n      lose(call, result);\n", "    if (is_lost(result)) {\n"),
        ("driver: code is not charged", DEVICE, "overhead_.context_bytes + overhead_.code_bytes + overhead_.cublas_bytes", "overhead_.context_bytes + overhead_.cublas_bytes"),
        ("driver: registered memory is not mapped", DEVICE, "memory.size(),\n                  cuda::kHostPortable | cuda::kHostMapped", "memory.size(),\n                  cuda::kHostPortable"),
        ("driver: the context maps no registered memory", DEVICE, "cuda::kContextBlockingWait | cuda::kContextMapsHostMemory", "cuda::kContextBlockingWait"),
        ("cuBLAS: outputs and rows are swapped", BLAS, "outputs, static_cast<int>(rows), k, &one", "static_cast<int>(rows), outputs, k, &one"),
        ("cuBLAS: weights as far apart as outputs that count", BLAS, "cublas::kHalf, lines, pointer(halves)", "cublas::kHalf, outputs, pointer(halves)"),
        ("cuBLAS: rows of y side by side", BLAS, "cublas::kFloat, y_stride,", "cublas::kFloat, outputs,"),
        ("cuBLAS: weights are transposed", BLAS, "cublas::kAsItIs, cublas::kAsItIs, outputs", "1, cublas::kAsItIs, outputs"),
        ("cuBLAS: what lies in y is added", BLAS, "k, &zero, pointer(y", "k, &one, pointer(y"),
        ("cuBLAS: on no stream of ours", BLAS, SET_STREAM, ""),
        ("cuBLAS: the workspace is set before the stream, which gives it up", BLAS, SET_STREAM + SET_WORKSPACE, SET_WORKSPACE + SET_STREAM),
        ("cuBLAS: a product that fails is not noticed", BLAS, "check(library_.gemm, handle_.get()", "(void)library_.gemm.function(handle_.get()"),
        ("cuBLAS: weights lie where cuBLAS works", BLAS, "weights = workspace_ + kLibraryBytes", "weights = workspace_"),
        ("cuBLAS: rows reach into the weights of a large product", BLAS, "halves = weights + kWeightBytes", "halves = weights + kWeightBytes / 2"),
        ("cuBLAS: the first rows for each piece of the rows", BLAS, "product.x + row * product.x_stride", "product.x + 0 * product.x_stride"),
        ("cuBLAS: the first outputs for each piece of the weights", BLAS, "pointer(y + output * sizeof(float))", "pointer(y)"),
        ("cuBLAS: 64 rows are too few", BLAS, "product.rows >= kCublasLeastRows", "product.rows > kCublasLeastRows"),
        ("cuBLAS: parts of sums may be f16", BLAS, "  check(library_.set_math_mode, handle, cublas::kSumsKeepTheirPrecision);\n", ""),
        ("cuBLAS: memory that runs out counts as a launch that failed", BLAS, "status == CublasStatus::alloc_failed", "status == CublasStatus::internal_error"),
        ("cuBLAS: its handle is kept", BLAS, "{ (void)destroy(made); }", "{ (void)made; }"),
        ("cuBLAS: its handle outlives the context", DEVICE, "      cublas_.reset();\n", ""),
        ("cuBLAS: its workspace is kept", DEVICE, "      if (cublas_workspace_) attempt(driver_.memory_free, cublas_workspace_);\n", ""),
        ("cuBLAS: what it takes is not charged", DEVICE, "with_code - std::min(with_code, with_cublas)}", "0}"),
        ("cuBLAS: two streams in the workspace at once", DEVICE, "cublas_stream_ && *cublas_stream_ != stream", "cublas_stream_ && *cublas_stream_ == stream"),
        ("cuBLAS: the end of its turn is recorded on the first stream", DEVICE, "event_of(cublas_done_),\n            stream_of(stream));", "event_of(cublas_done_),\n            streams_[0]);"),
        ("cuBLAS: what failed halfway goes on in the workspace", DEVICE, "      attempt(driver_.stream_synchronize, stream_of(stream));  // a part", "      // a part"),
        ("cuBLAS: closed in no context", DEVICE, "      attempt(driver_.context_set_current, context_);  // drain", "      // drain"),
        ("cuBLAS: used where it is not wanted", DEVICE, "product && cublas_ && uses_cublas_", "product && cublas_"),
    ], links=[*sorted(EMULATION.rglob("*.o")), *OFFLOAD], timeout_s=300, slow="slow: products that the workspace does not hold*"),
]


class Program:
    """A group, compiled in the tree of copies that mistakes are planted into."""

    def __init__(self, tree, number, group):
        self.group, self.tree, self.folder = group, tree, tree / f"made{number}"
        self.folder.mkdir()
        self.compile = [compiler, "-std=c++20", "-O1", "-w", "-ffp-contract=off", "-I", tree, "-I", tree / "include", f'-DLEAFCUTTER_SOURCE_DIR="{source}"']
        self.includes = {part: set() for part in group.parts}  # the files of the tree that a part is compiled from
        self.stale = set(group.parts)  # parts to compile whatever changed

    def made(self, part):
        return self.folder / (part.replace("/", "_") + ".o")

    def build(self, changed=None):
        """What the compiler says against it, or none. changed: the file that holds a mistake for this once."""
        for part in self.group.parts:
            spoilt = changed in self.includes[part]
            if part not in self.stale and not spoilt:
                continue
            (self.stale.add if spoilt else self.stale.discard)(part)
            kernel = ["-DLEAFCUTTER_CUDA_EMULATION", "-x", "c++"] if part.endswith(".cu") else []
            listed = self.folder / "includes"
            if said := refused([*self.compile, *kernel, "-MMD", "-MF", listed, "-c", self.tree / part, "-o", self.made(part)]):
                return said
            self.includes[part] = set(re.findall(re.escape(str(self.tree)) + r"/(\S+)", listed.read_text(encoding="utf-8")))
        return refused([compiler, self.tree / "main.o", *map(self.made, self.group.parts), *self.group.links, "-pthread", "-o", self.folder / "tests"])

    def outcome(self):
        """True: the tests pass; otherwise the first that does not."""
        found = self.outcome_of("--test-case-exclude=slow:*")
        return self.outcome_of(f"--test-case={self.group.slow}") if found is True and self.group.slow else found

    def outcome_of(self, tests):
        command = [self.folder / "tests", "--no-colors", "--abort-after=1", tests]
        try:
            ran = subprocess.run(command, capture_output=True, timeout=self.group.timeout_s)
        except subprocess.TimeoutExpired:
            return "found, takes too long"
        if ran.returncode == 0:
            return True
        case = re.search(rb"TEST CASE: *(.*(?:\n  \S.*)*)", ran.stdout)
        return f"found by '{' '.join(case.group(1).decode(errors='replace').split())}'" if case else f"found, status {ran.returncode}"


def refused(command):
    ran = subprocess.run(command, capture_output=True, text=True)
    return (ran.stderr or "?") if ran.returncode else None


with tempfile.TemporaryDirectory() as scratch:
    tree = pathlib.Path(scratch)
    for folder in ("base", "kernels", "quant", "compress", "offload", "include", "tests/offload", "tests/support", "tests/kernels"):
        shutil.copytree(source / folder, tree / folder)
    subprocess.run([compiler, "-std=c++20", "-w", "-c", source / "tests/test_main.cpp", "-o", tree / "main.o"], check=True)
    program_of, mutations = {}, []
    for group in GROUPS:
        if only not in " ".join(group.parts):
            continue
        program = Program(tree, len(program_of), group)
        how = program.build() or program.outcome()
        if how is not True:
            sys.exit(f"without a mistake, {' '.join(group.parts)}: {how}")
        program_of.update((file, program) for _, file, *_ in group.mutations)
        mutations += group.mutations
    tell(source, tree, mutations, lambda file: None if program_of[file].build(file) else program_of[file].outcome())
