"""How a plan is asked for, recorded by a library that builds nothing real."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from pipeline.errors import BadRecipe, MissingPart, StageFailure
from pipeline.export.tensorrt import build_plan, open_tensorrt, plan_shapes
from pipeline.settings import EncoderSettings, ExportSettings


class FakeTensorRt(ModuleType):
    """The package `tensorrt` at the width at which it is used; it remembers what was asked."""

    def __init__(self, version="10.14.1", errors=(), engine=b"plan", profile_index=0):
        super().__init__("tensorrt")
        self.__version__ = version
        self.asked = asked = {}

        class Logger:
            WARNING = 2

            def __init__(self, level):
                asked["level"] = level

        class Profile:
            def set_shape(self, name, low, middle, high):
                asked.setdefault("shapes", {})[name] = (low, middle, high)

        class Config:
            def add_optimization_profile(self, profile):
                assert isinstance(profile, Profile)
                return profile_index

        class Builder:
            def __init__(self, logger):
                assert isinstance(logger, Logger)

            def create_network(self, flags):
                asked["flags"] = flags
                return "network"

            def create_builder_config(self):
                return Config()

            def create_optimization_profile(self):
                return Profile()

            def build_serialized_network(self, network, config):
                assert network == "network"
                assert isinstance(config, Config)
                return engine

        class OnnxParser:
            num_errors = len(errors)

            def __init__(self, network, logger):
                assert network == "network"

            def parse_from_file(self, path):
                asked["path"] = path
                return not errors

            def get_error(self, index):
                return SimpleNamespace(desc=lambda: errors[index])

        self.Logger, self.Builder, self.OnnxParser = Logger, Builder, OnnxParser
        # No precision flags and no BuilderFlag at all: version 11 took them away.
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=3)


@pytest.mark.parametrize("version", ["10.14.1", "11.4.0.106"])
def test_a_plan_is_strongly_typed_with_one_profile_of_the_recipes_shapes(tmp_path, version):
    library = FakeTensorRt(version)
    shapes = plan_shapes(ExportSettings(), EncoderSettings())
    said = build_plan(library, tmp_path / "model.onnx", tmp_path / "model.plan", shapes)
    assert library.asked["flags"] == 1 << 3
    assert library.asked["path"] == str(tmp_path / "model.onnx")
    each = ((1, 3), (16, 128), (64, 512))
    assert library.asked["shapes"] == {"input_ids": each, "attention_mask": each}
    assert (tmp_path / "model.plan").read_bytes() == b"plan"
    assert said == {
        "version": version,
        "source": "model.onnx",
        "batch": [1, 16, 64],
        "sequence": [3, 128, 512],
    }


def test_the_longest_sequence_is_never_shorter_than_what_was_trained():
    wide = plan_shapes(ExportSettings(tensorrt_sequence=(3, 128, 2048)), EncoderSettings())
    assert wide.sequence == (3, 128, 2048)
    queries = EncoderSettings(query_tokens=900, passage_tokens=300)
    assert plan_shapes(ExportSettings(), queries).sequence == (3, 128, 900)


@pytest.mark.parametrize("values", [(1, 16), (16, 1, 64), (0, 1, 2)])
def test_shapes_that_do_not_ascend_are_refused_by_name(values):
    with pytest.raises(BadRecipe, match="tensorrt_batch"):
        plan_shapes(ExportSettings(tensorrt_batch=values), EncoderSettings())


@pytest.mark.parametrize(
    ("library", "said"),
    [
        (FakeTensorRt(errors=("unsupported operator Foo", "and Bar")), "operator Foo; and Bar"),
        (FakeTensorRt(engine=None), "built no engine"),
        (FakeTensorRt(profile_index=-1), "refuses the shapes"),
    ],
)
def test_what_tensorrt_refuses_fails_and_leaves_no_plan(tmp_path, library, said):
    shapes = plan_shapes(ExportSettings(), EncoderSettings())
    with pytest.raises(StageFailure, match=said):
        build_plan(library, tmp_path / "model.onnx", tmp_path / "model.plan", shapes)
    assert list(tmp_path.iterdir()) == []


def test_another_major_version_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt("8.6.1"))
    with pytest.raises(MissingPart, match=r"8\.6\.1 is neither 10 nor 11"):
        open_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt("11.0.0"))
    assert open_tensorrt().__version__ == "11.0.0"
