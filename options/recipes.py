"""The one hand-written source of the option files: `python options/recipes.py` writes them, `--check` compares.

Facts are the published recipes (RAMiT, CVPRW 2024). Edit here, never in the YAML files.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

HEADER = "# Written by options/recipes.py. For changes of your own, copy this file under another name.\n"


@dataclass(frozen=True)
class SRNetwork:
    """A super-resolution network and how its weights are published."""

    name: str
    network_g: str

    def block(self, scale: int) -> str:
        """Its `network_g` block."""
        return f"network_g:\n{indent(self.network_g.format(scale=scale), '  ')}"


def ramit(variant: str) -> SRNetwork:
    """A variant of RAMiT for super-resolution."""
    return SRNetwork(variant, f"type: RAMiT\nvariant: {variant}\ntask: SR\nscale: {{scale}}\n")


TRAIN = [(ramit("RAMiT"), 2)]
TEST = [(ramit("RAMiT"), 2), (ramit("RAMiT-1"), 2), (ramit("RAMiT-slimSR"), 4)]

SR_TEST_SETS = ("Set5", "Set14", "BSD100", "Urban100", "Manga109")
LQ_PATCH = 64


def test_set(key: str, name: str, scale: int) -> str:
    """One super-resolution test set; LR files are called like their HR file with x2, x3 or x4 behind."""
    return dedent(f"""\
        {key}:
          name: {name}
          type: PairedRestorationDataset
          dataroot_gt: datasets/{name}/HR
          dataroot_lq: datasets/{name}/LR_bicubic/X{scale}
          filename_tmpl: '{{}}x{scale}'
          io_backend:
            type: disk
        """)


def sr_metrics(border: int) -> str:
    """PSNR and SSIM on Y of YCbCr (BT.601, 16..235), `border` pixels cropped."""
    return dedent(f"""\
        metrics:
          psnr:
            type: calculate_psnr
            crop_border: {border}
            test_y_channel: true
            better: higher
          ssim:
            type: calculate_ssim
            crop_border: {border}
            test_y_channel: true
            better: higher
        """)


def train_sr(network: SRNetwork, scale: int) -> str:
    """The published training recipe of super-resolution from scratch (x2)."""
    return (
        HEADER
        + dedent(f"""\
        # {network.name} x{scale} as published: DIV2K, 500,000 iterations, 64 LQ patches of {LQ_PATCH}x{LQ_PATCH}.
        # basicsr train -opt options/train_{network.name}_x{scale}.yml --nproc 2
        name: train_{network.name}_x{scale}
        model_type: RestorationModel
        scale: {scale}
        num_gpu: auto
        manual_seed: 0

        datasets:
          train:
            name: DIV2K
            type: PairedRestorationDataset
            dataroot_gt: datasets/DIV2K/DIV2K_train_HR_sub.lmdb
            dataroot_lq: datasets/DIV2K/DIV2K_train_LR_bicubic_X{scale}_sub.lmdb
            io_backend:
              type: lmdb
            gt_size: {LQ_PATCH * scale}  # GT pixels; the LQ patch is gt_size / scale
            use_hflip: true
            use_rot: true
            num_worker_per_gpu: 6
            batch_size_per_gpu: 32  # published: 2 GPUs x 32 = 64; on one GPU write 64
            dataset_enlarge_ratio: 100
            pin_memory: true
            persistent_workers: true
        """)
        + indent(test_set("val", "Set5", scale), "  ")
        + "\n"
        + network.block(scale)
        + dedent("""
        path:
          pretrain_network_g: ~
          strict_load_g: true
          resume_state: ~

        train:
          total_iter: 500000
          warmup_iter: 20000  # linear from 0
          optim_g:
            type: Adam
            lr: 0.0004
            weight_decay: 0
            betas: [0.9, 0.999]
          scheduler:
            type: MultiStepLR
            milestones: [200000, 300000, 400000, 425000, 450000, 475000]
            gamma: 0.5
          pixel_opt:
            type: L1Loss
            loss_weight: 1.0
            reduction: mean

        val:
          val_freq: 5000
          save_img: false
        """)
        + indent(sr_metrics(scale), "  ")
        + dedent("""
        logger:
          print_freq: 100
          save_checkpoint_freq: 5000
          use_tb_logger: true

        dist_params:
          backend: nccl  # without GPUs, gloo is taken
          port: 29500
        """)
    )


def test_sr(network: SRNetwork, scale: int) -> str:
    """Test weights of super-resolution on the five usual sets."""
    sets = [test_set(f"test_{i}", name, scale) for i, name in enumerate(SR_TEST_SETS, 1)]
    return (
        HEADER
        + dedent(f"""\
        # {network.name} x{scale} by the published protocol. Leave a data set out with --force_yml datasets:test_2=none
        name: test_{network.name}_x{scale}
        model_type: RestorationModel
        scale: {scale}
        num_gpu: auto
        manual_seed: 0

        datasets:
        """)
        + indent("".join(sets), "  ")
        + "\n"
        + network.block(scale)
        + dedent(f"""
        path:
          # The published file, or your own: experiments/train_{network.name}_x{scale}/models/net_g_latest.pth
          pretrain_network_g: weights/{network.name}_X{scale}.pth
          strict_load_g: true

        val:
          save_img: true
          suffix: ~  # ~ appends the name of this test to saved images
        """)
        + indent(sr_metrics(scale), "  ")
    )


DEMO_NETWORK = dedent("""\
    network_g:
      type: RAMiT
      variant: RAMiT
      task: SR
      scale: 2
      dim: 32
      depths: [2, 2, 2, 2]
      neck_groups: 2
    """)

DEMO_VALIDATION = dedent("""\
      {key}:
        name: demo
        type: PairedRestorationDataset
        dataroot_gt: datasets/demo/val/HR.lmdb
        dataroot_lq: datasets/demo/val/LR_bicubic_X2.lmdb
        io_backend:
          type: lmdb
    """)


def train_demo() -> str:
    """The demo: a small RAMiT x2 on scikit-image's photographs, a few minutes on two CPU cores."""
    return (
        HEADER
        + dedent("""\
        # A small RAMiT x2 for a few minutes on two CPU cores; `basicsr demo` makes its data and runs it.
        name: demo
        model_type: RestorationModel
        scale: 2
        num_gpu: auto
        manual_seed: 0

        datasets:
          train:
            name: demo
            type: PairedRestorationDataset
            dataroot_gt: datasets/demo/train/HR.lmdb
            dataroot_lq: datasets/demo/train/LR_bicubic_X2.lmdb
            io_backend:
              type: lmdb
            gt_size: 64
            use_hflip: true
            use_rot: true
            num_worker_per_gpu: 1
            batch_size_per_gpu: 4
            dataset_enlarge_ratio: 100
            persistent_workers: true
        """)
        + indent(DEMO_VALIDATION.format(key="val"), "  ")
        + "\n"
        + DEMO_NETWORK
        + dedent("""
        path:
          pretrain_network_g: ~
          strict_load_g: true
          resume_state: ~

        train:
          total_iter: 2000
          warmup_iter: 50
          optim_g:
            type: Adam
            lr: 0.002
            weight_decay: 0
            betas: [0.9, 0.999]
          scheduler:
            type: MultiStepLR
            milestones: [1000, 1400, 1700, 1900]
            gamma: 0.5
          pixel_opt:
            type: L1Loss
            loss_weight: 1.0
            reduction: mean

        val:
          val_freq: 500
          save_img: false
          pbar: false
        """)
        + indent(sr_metrics(2), "  ")
        + dedent("""
        logger:
          print_freq: 100
          save_checkpoint_freq: 500
          use_tb_logger: false
        """)
    )


def test_demo() -> str:
    """The demo's test twin."""
    return (
        HEADER
        + dedent("""\
        # Tests the demo's network; `basicsr demo` runs it before and after training.
        name: demo
        model_type: RestorationModel
        scale: 2
        num_gpu: auto
        manual_seed: 0

        datasets:
        """)
        + indent(DEMO_VALIDATION.format(key="test"), "  ")
        + "\n"
        + DEMO_NETWORK
        + dedent("""
        path:
          pretrain_network_g: experiments/demo/models/net_g_latest.pth
          strict_load_g: true

        val:
          save_img: true
          suffix: result
          pbar: false
        """)
        + indent(sr_metrics(2), "  ")
    )


def option_files() -> Iterator[tuple[str, str]]:
    """Name and text of every option file."""
    for network, scale in TRAIN:
        yield f"train_{network.name}_x{scale}.yml", train_sr(network, scale)
    for network, scale in TEST:
        yield f"test_{network.name}_x{scale}.yml", test_sr(network, scale)
    yield "train_demo.yml", train_demo()
    yield "test_demo.yml", test_demo()


def main(folder: Path, *, check: bool) -> int:
    """Write the files into `folder`; with `check`, only name those that differ. Returns how many do."""
    stale = 0
    for name, text in option_files():
        path = folder / name
        if check and (not path.is_file() or path.read_text(encoding="utf-8") != text):
            print(f"{path}: differs from options/recipes.py; run python options/recipes.py")
            stale += 1
        elif not check:
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    raise SystemExit(main(Path(__file__).parent, check="--check" in sys.argv[1:]))
