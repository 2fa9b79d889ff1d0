"""The benchmark runs from end to end and writes what it promises; nothing here looks at times."""

import importlib
import json
import os
import sys
from pathlib import Path

import emulation
import process
import pytest
import ranks

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

for needed in ("torch", "threadpoolctl", "matplotlib"):
    pytest.importorskip(needed, reason='pip install -e ".[benchmarks]"')


@pytest.fixture
def modules(monkeypatch):
    """`import measure` finds the benchmark's modules."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield
    for name in (
        "measure",
        "cpu",
        "chart",
        "networks",
        "work",
        "jobs",
        "gpu_process",
        "fit",
        "onnx_models",
        "functional",
    ):
        sys.modules.pop(name, None)


TINY = ["--quick", "--threads", "1", "--coretype", "default", "--only", "convolutions: 5×5 6"]


def check_tiny(out, printed):
    result = json.loads(out.read_text())
    (machine,) = result["machines"].values()
    assert machine["threads"] == 1
    assert machine["kernels"]
    assert [r["measure"] for r in result["records"]] == ["forward", "forward + backward"]
    for record in result["records"]:
        assert set(record["seconds"]) == {
            "PyTorch",
            "PyTorch channels-last",
            "xpconv",
            "xpconv channels-last",
        }
        ours, theirs = (
            min(s for label, s in record["seconds"].items() if label.startswith(side))
            for side in ("xp", "Py")
        )
        assert record["ratio"] == pytest.approx(ours / theirs)
    assert "5×5 6→16 @12, batch 64" in printed
    assert out.with_name("tiny-convolutions.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_results_are_written_as_table_json_and_chart(modules, tmp_path, monkeypatch, capsys):
    """Without the processes that measure, which import PyTorch anew."""
    import cpu
    import measure

    def here(function, *args, **_):
        module, _, name = function.partition(".")
        return json.loads(json.dumps(getattr(importlib.import_module(module), name)(*args)))

    monkeypatch.setattr(measure, "fresh", here)
    cpu.main([*TINY, "--out", str(tmp_path / "tiny.json")])
    check_tiny(tmp_path / "tiny.json", capsys.readouterr().out)


@pytest.mark.slow
def test_one_command_writes_table_json_and_chart(tmp_path):
    out = tmp_path / "results" / "tiny.json"
    command = [sys.executable, str(BENCHMARKS / "cpu.py"), *TINY, "--out", str(out)]
    check_tiny(out, process.run(command).stdout)


@pytest.mark.slow
def test_every_work_computes_the_same_in_all_contenders(modules):
    import jobs
    import networks
    import work

    for name, batch in (("LeNet-5", 2), ("ResNet-20", 2)):
        make, shape = networks.MODELS[name]
        ours = work.xpconv_training(make, (batch, *shape))
        theirs = {
            k: work.torch_training(make, (batch, *shape), f, fused=False) for k, f in work.FORMATS.items()
        }
        contenders = {"xpconv": ours, **theirs}
        jobs.check_same(name, {label: c.output() for label, c in contenders.items()})
        losses = [c.run().item() for c in contenders.values()]
        assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-4)
        if name == "LeNet-5":  # Adam's first step is a sign: before a BatchNorm, that of rounding errors
            losses = [c.run().item() for c in contenders.values()]
            assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-4)
        with pytest.raises(ValueError, match="differs from xpconv"):
            jobs.check_same(name, {"xpconv": ours.output(), "PyTorch": theirs["PyTorch"].output() + 1})


def test_fit_and_the_loop_that_it_is_compared_with_compute_the_same(modules):
    import fit

    both = fit.contenders("LeNet-5", 2, 3, True)
    row = both["fit"]().rows[0]
    assert [row["loss"], row["accuracy"]] == pytest.approx(both["loop"](), rel=1e-6)


@pytest.mark.slow
def test_onnx_files_and_the_runtime_compute_the_same(modules, tmp_path, monkeypatch):
    for needed in ("onnx", "onnxruntime"):
        pytest.importorskip(needed)
    import onnx_models

    monkeypatch.setattr("os.environ", dict(os.environ))  # which `main` changes
    result = onnx_models.main(
        [
            *(
                "--models",
                "squeezenet1_1",
                "--batches",
                "1",
                "--seconds",
                "0",
                "--rounds",
                "1",
                "--threads",
                "1",
            ),
            *("--out", str(tmp_path / "onnx.json")),
        ]
    )
    (record,) = json.loads((tmp_path / "onnx.json").read_text())["records"]
    assert record == result["records"][0]
    assert set(record["seconds"]) == {"graph", "model", "onnxruntime"}


def test_growth_finds_the_steepest_step(modules):
    import measure

    assert measure.growth([1, 2, 4], [3, 6, 24]) == pytest.approx(2)
    assert measure.geometric_mean([0.5, 2, 8]) == pytest.approx(2)


def test_a_fresh_process_reports_its_own_memory(modules):
    import measure

    grown = measure.peak_over_baseline(lambda: b"x" * (64 * 2**20))
    assert 50 * 2**20 < grown < 80 * 2**20


@pytest.mark.slow
def test_the_gpu_command_rehearses_on_the_double_and_says_so(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--rehearse"]
    stages = ["--only", "parity,training,inference,sanitizer,memory"]
    env = process.environment(XPCONV_THOROUGH="1")  # libraries of kernels as other slow tests compile them
    done = process.run([*command, *stages, "--out", str(tmp_path)], check=False, env=env)
    result = json.loads((tmp_path / "gpu-rehearsal.json").read_text())
    assert result["device"] == "the double on a CPU: no GPU figures"
    assert [r["passed"] for r in result["stages"]["parity"]["records"]] == [True] * 6, done.stdout
    first = result["stages"]["training"]["records"][0]
    assert {"xpconv eager", "PyTorch eager", "PyTorch channels-last"} <= set(first["seconds"])
    assert done.returncode == 0, done.stdout + done.stderr
    if emulation.COMPILER:
        assert result["stages"]["sanitizer"]["records"][-1]["never launched"] == []
    assert len(result["criteria"]) == 9
    assert (tmp_path / "gpu-rehearsal-training.png").read_bytes().startswith(b"\x89PNG")


def test_a_rehearsal_never_writes_into_the_results(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--rehearse"]
    for out in ([], ["--out", str(BENCHMARKS / "results")]):
        done = process.run([*command, *out], check=False)
        assert done.returncode == 2
        assert "needs an --out" in done.stderr


@pytest.mark.slow
def test_two_checkouts_are_measured_in_turn(tmp_path):
    out, here = tmp_path / "compare.json", BENCHMARKS.parent
    command = [sys.executable, str(BENCHMARKS / "compare.py"), str(here), str(here), "--threads", "1"]
    only = ["--only", "^(training|inference|plain inference): LeNet-5, batch (1|64)$", "--memory"]
    options = [*only, "--starts", "1", "--rounds", "2", "--out", str(out)]
    done = process.run([*command, *options])
    records = json.loads(out.read_text())["records"]
    sections = ["training", "inference", "inference", "plain inference", "memory"]
    assert [r["section"] for r in records] == sections
    assert all(r["difference"] == 0 and set(r["seconds"]) == {"old", "new"} for r in records[:-1])
    for section in dict.fromkeys(sections):
        assert f"{section}: geometric mean" in done.stdout
    done = process.run([*command[:2], str(tmp_path)], check=False)
    assert done.returncode == 2
    assert "has no package xpconv" in done.stderr


@pytest.mark.slow
def test_a_part_of_the_gpu_command_has_a_process_and_a_limit(modules, tmp_path, monkeypatch):
    (tmp_path / "some_parts.py").write_text(
        "import sys, time\n"
        "def good(rehearse, n):\n    yield from ({'i': i} for i in range(n))\n"
        "def dies(rehearse):\n    yield {'i': 0}\n    sys.exit('no more')\n"
        "def hangs(rehearse):\n    yield {'i': 0}\n    time.sleep(1000)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    import gpu_process

    run = gpu_process.in_process
    assert list(run("some_parts.good", [2], process.LIMIT)) == [{"i": 0}, {"i": 1}]
    first, last = run("some_parts.dies", [], process.LIMIT)
    assert first == {"i": 0}
    assert last["passed"] is False
    assert "ended with 1: no more" in last["failure"]
    for limit in (2, 20, 200):  # a busy machine takes longer until the part begins
        *first, last = run("some_parts.hangs", [], limit)
        assert last["passed"] is False
        assert f"over its limit of {limit} s" in last["failure"]
        if first:
            break
    assert first == [{"i": 0}]


@pytest.mark.slow
def test_prefetching_is_measured_for_every_number_of_workers(tmp_path):
    out = tmp_path / "prefetch.json"
    command = [sys.executable, str(BENCHMARKS / "prefetch.py"), "--batches", "2", "--rounds", "1"]
    process.run([*command, "--out", str(out)])
    records = json.loads(out.read_text())["records"]
    names = [f"{name}, workers={n}" for name in ("waits", "computes") for n in (0, 1, 2)]
    assert [record["name"] for record in records] == names
    assert all(record["ratio"] > 0 for record in records)


@pytest.mark.slow
def test_one_process_is_compared_with_two(tmp_path):
    pytest.importorskip("mpi4py")
    if ranks.mpiexec() is None:
        pytest.skip("there is no mpiexec")
    out = tmp_path / "distributed.json"
    command = [sys.executable, str(BENCHMARKS / "distributed.py"), "--rounds", "1", "--seconds", "0.1"]
    process.run([*command, "--out", str(out)])
    result = json.loads(out.read_text())
    rates = {kind: found[0] for kind, found in result["images per second"].items()}
    assert result["ratio"] == rates["several"] / rates["one"] > 0
    assert result["ratio without exchange"] == rates["apart"] / rates["one"] > 0


@pytest.mark.slow
def test_functional(modules, tmp_path, capsys):
    """A row for each operation, whose values are PyTorch's."""
    pytest.importorskip("scipy", reason="pip install scipy")
    import functional

    case = "5×5 6→16 @14, batch 64"
    arguments = ["--cases", case, "--seconds", "0", "--rounds", "1", "--threads", "1"]
    result = functional.main([*arguments, "--out", str(tmp_path / "functional.json")])
    assert [r["operation"] for r in result["records"]] == list(functional.OPERATIONS)
    for record in result["records"]:
        ours = record["seconds"]["xpconv"]
        assert record["ratios"]["scipy"] == pytest.approx(record["seconds"]["scipy"] / ours)
        assert record["ratios"]["PyTorch"] == pytest.approx(ours / record["seconds"]["PyTorch"])
    assert case in capsys.readouterr().out
    assert json.loads((tmp_path / "functional.json").read_text())["mean"] == result["mean"]
