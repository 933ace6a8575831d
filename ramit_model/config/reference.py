"""JSON schema for editors, and option tables for the documentation, both from the schema of the option files."""

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from ramit_model.config.dataset_schema import DATASETS, Dataset, TrainDataset
from ramit_model.config.schema import CHECKED_MODELS, SCHEDULERS, Common, TestOptions, TrainOptions

JSON = dict[str, Any]

SECTIONS = (
    ("Trainings and tests", "Common", ""),
    ("`datasets`: every set", "Dataset", ""),
    ("`datasets`: PairedRestorationDataset", "PairedDataset", "Dataset"),
    ("`datasets`: SingleRestorationDataset", "SingleDataset", "Dataset"),
    ("`datasets`: CleanImageDataset", "CleanDataset", "Dataset"),
    ("`datasets`: PhotoDataset", "PhotoDataset", "Dataset"),
    ("`datasets.train`: every training set", "TrainDataset", "Dataset"),
    ("`datasets.train`: CleanImageDataset", "CleanTrainDataset", "TrainDataset CleanDataset"),
    ("`datasets.train`: PhotoDataset", "PhotoTrainDataset", "TrainDataset PhotoDataset"),
    ("`network_g`: RAMiT (`variant` and `task` set other defaults)", "RAMiT", ""),
    ("`network_g`: NGswin", "NGswin", ""),
    ("`path`", "Paths", ""),
    ("`dist_params`", "DistParams", ""),
    ("Trainings only", "TrainOptions", "Common"),
    ("`train`", "Train", ""),
    ("`train.losses`, each", "ListedLoss", ""),
    ("`train.progressive`", "Progressive", ""),
    ("`train.warm_start`", "WarmStart", ""),
    ("`train.scheduler`: MultiStepLR", "MultiStep", ""),
    ("`train.scheduler`: CosineAnnealingRestartLR", "CosineAnnealing", ""),
    ("`train.scheduler`: CosineAnnealingLR", "CosineSchedule", ""),
    ("`train.scheduler`: ConstantLR", "ConstantSchedule", ""),
    ("`val`", "Val", ""),
    ("`logger`", "Logger", ""),
    ("Benchmarks", "BenchmarkOptions", ""),
    ("`networks.NAME` of a benchmark", "BenchmarkNetwork", ""),
    ("`val` of a benchmark", "BenchmarkVal", ""),
    ("`cost` of a benchmark", "Cost", ""),
    ("`strips` of a benchmark, each", "Strip", ""),
)
"""Title, schema, and schemas whose options are left out because earlier tables have them."""


TYPE_NAMES = {
    "null": "~",
    "boolean": "`true`, `false`",
    "string": "text",
    "number": "number",
    "integer": "integer",
    "object": "block",
}


def json_schema(benchmark: type[BaseModel], blocks: Mapping[str, type[BaseModel]]) -> JSON:
    """Build the JSON schema (draft 7) of all option files.

    Args:
        benchmark: Schema of the option files of benchmarks.
        blocks: Option of a benchmark -> schema of its block, or of each block in it.
    """
    datasets = [schema for pair in DATASETS.values() for schema in pair]
    # Common, Dataset and TrainDataset are for the tables: options that several kinds have.
    models: list[type[BaseModel]] = [Common, TrainOptions, TestOptions, benchmark, *blocks.values()]
    models += [*SCHEDULERS.values(), Dataset, TrainDataset, *datasets]
    _, whole = models_json_schema([(model, "validation") for model in dict.fromkeys(models)])
    d: JSON = {name: _tidy(definition) for name, definition in whole["$defs"].items()}
    d |= _networks()
    d["Network"] = _by_type({name: name for name in ("RAMiT", "NGswin")})
    d["Scheduler"] = _by_type({name: schema.__name__ for name, schema in SCHEDULERS.items()})
    d["Scheduler"]["properties"]["type"] = {"enum": list(SCHEDULERS)}
    d["AnyTrainDataset"] = _by_type({name: training.__name__ for name, (training, _) in DATASETS.items()})
    d["AnyDataset"] = _by_type({name: evaluation.__name__ for name, (_, evaluation) in DATASETS.items()})
    for name in ("Common", "TrainOptions", "TestOptions", "BenchmarkNetwork"):
        d[name]["properties"]["network_g"] |= _ref("Network")
    d["Train"]["properties"]["scheduler"] |= _ref("Scheduler")
    for name, phases in {"TrainOptions": "val", "TestOptions": "val|test", benchmark.__name__: "val|test"}.items():
        sets = {f"^({phases})(_.*)?$": _optional(_ref("AnyDataset"))}
        if name == "TrainOptions":
            sets["^train(_.*)?$"] = _optional(_ref("AnyTrainDataset"))
        d[name]["properties"]["datasets"] |= {"patternProperties": sets, "additionalProperties": False}
    for key, block in blocks.items():
        option, ref = d[benchmark.__name__]["properties"][key], _ref(block.__name__)
        if option.get("type") == "array":
            option["items"] = ref
        elif option.get("type") == "object":
            option["additionalProperties"] = _optional(ref)
        else:
            option["anyOf"] = _optional(ref)["anyOf"]
    training = {"required": ["datasets"], "properties": {"datasets": {"required": ["train"]}}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Option file of RAMiT for BasicSR",
        "if": {"required": ["networks"]},
        "then": _ref(benchmark.__name__),
        "else": {
            "if": {"properties": {"model_type": {"enum": list(CHECKED_MODELS)}}},
            "then": {"if": training, "then": _ref("TrainOptions"), "else": _ref("TestOptions")},
        },
        "$defs": dict(sorted(d.items())),
    }


def _networks() -> JSON:
    """Definitions of `network_g` for our own networks, from the dataclasses of their hyper-parameters."""
    from ramit_arch import RAMiTSettings
    from ramit_arch.ngswin_arch import NGswinSettings
    from ramit_arch.settings import TASKS, VARIANTS

    ramit, ngswin = _network("RAMiT", RAMiTSettings), _network("NGswin", NGswinSettings)
    ramit["properties"] |= {
        "variant": {"enum": list(VARIANTS), "default": "RAMiT", "description": "Published variant."},
        "task": {
            "enum": list(TASKS),
            "default": "SR",
            "description": "Super-resolution, color or gray denoising, low-light enhancement, deraining.",
        },
        "scale": {"type": "integer", "description": "2, 3 or 4 for SR; 1, or left out, for the other tasks."},
    }
    for name in ("mean", "std"):
        del ramit["properties"][name]["default"]  # those of the task
    first = dict.fromkeys(("type", "variant", "task", "scale"))
    ramit["properties"] = {name: ramit["properties"][name] for name in first | ramit["properties"]}
    return {"RAMiT": ramit, "NGswin": ngswin}


def _network(name: str, settings: type) -> JSON:
    schema = _tidy(TypeAdapter(settings).json_schema())
    text = inspect.getdoc(settings) or ""
    described = re.findall(r"^    (\w+): (.+(?:\n        .+)*)", text.partition("Attributes:\n")[2], re.MULTILINE)
    for field, description in described:
        schema["properties"][field]["description"] = " ".join(description.split())
    return {
        "type": "object",
        "description": f"Hyper-parameters of {name}.",
        "properties": {"type": {"const": name, "description": "Network."}, **schema["properties"]},
        "required": ["type", *schema.get("required", [])],
        "additionalProperties": False,
    }


def _ref(name: str) -> JSON:
    return {"$ref": f"#/$defs/{name}"}


def _optional(schema: JSON) -> JSON:
    return {"anyOf": [schema, {"type": "null"}]}


def _by_type(choices: Mapping[str, str]) -> JSON:
    """Block whose `type` says which definition it follows; other types are open."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"anyOf": [{"enum": list(choices)}, {"type": "string"}]}},
        "allOf": [
            {"if": {"required": ["type"], "properties": {"type": {"const": name}}}, "then": _ref(definition)}
            for name, definition in choices.items()
        ],
    }


def _tidy(schema: Any, *, named: bool = False) -> Any:
    """Leave out titles and null defaults, and write a reference in one way whatever pydantic's version."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if not named:
        schema = {key: value for key, value in schema.items() if key != "title" and (key, value) != ("default", None)}
        if len(schema.get("allOf", ())) == 1:
            schema |= schema.pop("allOf")[0]
    return {key: _tidy(value, named=key == "properties") for key, value in schema.items()}


# Tables --------------------------------------------------------------------------------------------------------------


def option_tables(schema: JSON) -> str:
    """Markdown tables of all options in a schema of `json_schema`."""
    parts = []
    for title, name, bases in SECTIONS:
        definition = schema["$defs"][name]
        known = [row for base in bases.split() for row in _rows(schema["$defs"][base])]
        rows = [row for row in _rows(definition) if row not in known]
        header = f"#### {title}\n\n{definition['description']}\n\n| option | values | default | meaning |"
        parts.append("\n".join((header, "| --- | --- | --- | --- |", *rows)))
    return "\n\n".join(parts) + "\n"


def _rows(definition: JSON) -> list[str]:
    required = definition.get("required", ())
    return [
        f"| `{option}` | {_values(about)} | {_default(about, option in required)} | {about['description']} |"
        for option, about in definition["properties"].items()
    ]


def _default(about: JSON, required: bool) -> str:
    default = about.get("default")
    if required:
        return "required"
    return "~" if default is None else f"`{json.dumps(default)}`".replace('"', "")


def _values(about: JSON) -> str:
    """Values of an option, in words."""
    if "const" in about:
        return f"`{about['const']}`"
    if "enum" in about:
        return ", ".join(f"`{value}`" for value in about["enum"])
    if "anyOf" in about:
        return " or ".join(map(_values, about["anyOf"]))
    if about.get("type") == "array":
        counts = dict.fromkeys(about[key] for key in ("minItems", "maxItems") if "maxItems" in about)
        return f"list{' of ' if counts else ''}{' to '.join(map(str, counts))}: {_values(about['items'])}"
    bounds = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "to"}
    limits = [f"{word} {about[key]:g}" for key, word in bounds.items() if key in about]
    return " ".join((TYPE_NAMES[about.get("type", "object")], *limits))
