"""Package metadata, static; tools are configured in pyproject.toml."""

import platform
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

# pip builds the package before it looks at python_requires, and would fail there with a traceback.
if sys.version_info < (3, 10):  # noqa: UP036  setup.py runs there
    raise SystemExit(
        f"ramit-basicsr needs Python 3.10 or later; this is Python {sys.version.split()[0]}. Make the virtual "
        "environment with a later one, for example: python3.12 -m venv .venv"
    )


def kernels() -> list[Extension]:
    """C++ kernels, once for each kind of processor; without a compiler the package does without them."""
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        return []  # tried nowhere else
    flags = [
        "-O3",
        "-std=c++17",
        "-fopenmp",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-ffp-contract=fast",
        "-Wno-psabi",
    ]
    kinds = {"_avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "_avx2": ["-march=x86-64-v3"]}
    return [
        Extension(
            f"ramit_arch.kernels.cpu.{name}",
            sources=sorted(map(str, Path("ramit_arch/kernels/cpu").glob("*.cpp"))),
            depends=sorted(map(str, Path("ramit_arch/kernels/cpu").glob("*.h"))),
            extra_compile_args=[*flags, *kind],
            extra_link_args=["-fopenmp"],
            language="c++",
            optional=True,
        )
        for name, kind in kinds.items()
    ]


setup(
    name="ramit-basicsr",
    version="0.1.0",
    description="RAMiT, a lightweight image restoration transformer, as a BasicSR plugin",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    project_urls={"Paper": "https://arxiv.org/abs/2305.11474", "BasicSR": "https://github.com/XPixelGroup/BasicSR"},
    keywords="image restoration, super-resolution, denoising, transformer, BasicSR, PyTorch",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: C++",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["ramit_arch*", "ramit_model*", "datasets_prep*"]),
        "ramit_model.recipes",
    ],
    # The option files are installed too, so that the demo runs from anywhere.
    package_dir={"ramit_model.recipes": "options"},
    package_data={
        "": ["py.typed"],
        "ramit_model.recipes": ["*.yml", "schema.json", "expected.json"],
        "ramit_model.benchmark": ["published.yml", "report/page.html"],
        "ramit_model.inference": ["*.json", "*.html"],
    },
    ext_modules=kernels(),
    install_requires=[
        # BasicSR's own distribution does not build on Python 3.13 and later: its setup.py reads a variable that exec
        # set from locals(). my-basicsr 1.4.2 is a wheel of the last state of BasicSR's repository; both are tested.
        "basicsr>=1.4.2,<1.5; python_version < '3.13'",
        "my-basicsr==1.4.2; python_version >= '3.13'",
        "torch>=2.7",
        "torchvision>=0.22",
        "numpy>=1.26",
        "opencv-python>=4.9.0.80",
        "pyyaml>=6.0.1",
        "lmdb>=1.4",
        # BasicSR imports scipy.ndimage.filters, which SciPy 2 will not have.
        "scipy>=1.11.1,<2",
        "pydantic>=2.11",  # earlier ones describe options/schema.json in other words
        "pillow>=11",
        "scikit-image>=0.22",
        "tifffile>=2023.9.18",
        "tqdm>=4.66",
        "matplotlib>=3.8",
        "jinja2>=3.1",
        "tabulate>=0.9",
        "filelock>=3.13",
        "safetensors>=0.4.5",
        # BasicSR imports distutils, which Python 3.12 no longer has; and the `tensorboard` command of its tb-nightly
        # imports pkg_resources, which setuptools 82 no longer has.
        "setuptools>=69,<82",
    ],
    extras_require={
        "spandrel": ["spandrel>=0.4.2"],
        # LPIPS and DISTS; earlier ones have no DISTS, or other modules.
        "metrics": ["torchmetrics>=1.9,<2"],
        # torch 2.13 exports for any size.
        "export": ["torch>=2.13", "onnx>=1.18", "onnxscript>=0.5.4", "onnxruntime>=1.22"],
        "openvino": ["openvino>=2025.2"],
        "test": [
            "pytest>=8",
            "hypothesis>=6.100",
            "pytest-timeout>=2.3.1",
            "pytest-xdist>=3.6.1",
            "jsonschema>=4.20",
            "spandrel>=0.4.2",
            "torchmetrics>=1.9,<2",
            "onnx>=1.18",
            "onnxscript>=0.5.4",
            "onnxruntime>=1.22",
            "ruff>=0.17",
            "mypy>=1.14",
            "types-PyYAML",
            "types-tqdm",
            "types-tabulate",
        ],
    },
    entry_points={"console_scripts": ["basicsr=ramit_model.cli:main"]},
)
