"""Engines by name, and what is refused before anything is connected."""

import sys

import pytest

from apical import lab


@pytest.mark.parametrize(
    ("engine", "address", "message"),
    [
        ("rai", None, r"no engine is called 'rai'. Did you mean 'ray'\?"),
        ("ray(cpu=2)", None, "--engine ray.cpu=2.: .*unexpected .* 'cpu'"),
        ("ray(cpus=-1)", None, "cpus=-1 must be at least 0"),
        ("ray(gpus='1')", None, "gpus='1' must be at least 0"),
        ("ray", "10.0.0.1", r"'10.0.0.1' is not host:port"),
        ("ray", "ray://10.0.0.1:10001", "is not host:port.* on a node of the cluster"),
        (None, "10.0.0.1:6379", "--address 10.0.0.1:6379 is of a Ray cluster"),
        (lab.RayEngine(), "10.0.0.1:6379", "--address 10.0.0.1:6379 is of a Ray"),
        ("slurm(cluster='pbs')", None, "cluster='pbs' is not slurm or local"),
        ("slurm(retries=-1)", None, "retries=-1 must be at least 0"),
        ("slurm", "10.0.0.1:6379", "--address 10.0.0.1:6379 is of a Ray cluster"),
        (3, None, "engine is a int: name it by a string"),
    ],
)
def test_what_is_no_engine_is_refused(engine, address, message):
    with pytest.raises(lab.LabError, match=message):
        lab.find_engine(engine, address)


def test_an_engine_is_found():
    assert lab.find_engine(None) is None
    made = lab.RayEngine(cpus=2)
    assert lab.find_engine(made) is made
    assert lab.find_engine("ray(cpus=2)", "h:1") == lab.RayEngine("h:1", cpus=2)


def test_a_device_is_of_this_process_alone():
    with pytest.raises(
        lab.LabError, match=r"--device cpu: an engine trains on .*gpus=1"
    ):
        lab.compare(engine="ray", device="cpu")


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    asked = {"models": ["mlp"], "rules": ["backpropagation"]}
    for module, extra in (("ray", "ray"), ("submitit", "slurm")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(lab.LabError, match=rf"pip install 'apical\[{extra}\]'"):
            lab.compare(engine=extra, out=tmp_path, **asked)


def test_slurm_needs_a_folder_and_slurm(monkeypatch, tmp_path):
    asked = {"models": ["mlp"], "rules": ["backpropagation"], "engine": "slurm"}
    with pytest.raises(lab.LabError, match=r"slurm needs out="):
        lab.compare(**asked)
    monkeypatch.setitem(sys.modules, "submitit", object())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(lab.LabError, match=r"no sbatch here.*cluster='local'"):
        lab.compare(out=tmp_path, **asked)
    assert not list(tmp_path.iterdir())
