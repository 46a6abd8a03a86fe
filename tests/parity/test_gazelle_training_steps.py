"""Whole training steps against recordings of the three public scripts, from weight file to changed weights.

Families `gazelle_training_step`, `gazelle_training_dinov3_step` and `gazelle_training_page_step`. The recorded weights
are written as a self-describing file and opened as `finetune` opens a model; learning settings are those of the recipe.
Drops are off, as in the recordings, except with the recorded factors.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gazetools.gazemodels.gazelle.prompts import head_maps
from gazetools.gazemodels.page.decoder import head_rects
from gazetools.gazemodels.page.names import canonical
from gazetools.gazemodels.vit.image import ImageTower
from gazetools.metrics.gaze import target_heatmap
from gazetools.schemas.finetune_learning import (
    GazeLossSettings,
    GazeOptimizerSettings,
    GazeScheduleSettings,
    MapDistillation,
)
from gazetools.schemas.finetune_model import FinetuneModel, RopeRescaleSettings, UnfreezeSettings
from gazetools.trainer.finetune.distilling import map_divergence, temperature_at
from gazetools.trainer.finetune.gaze_network import Domain, GazeNetwork, NetworkInputs
from gazetools.trainer.finetune.head_sample import HeadSample
from gazetools.trainer.finetune.map_losses import gaze_loss
from gazetools.trainer.finetune.networks import open_network
from gazetools.trainer.finetune.rates import optimizer_for, set_rates
from tests.parity import test_gazelle, test_gazelle_dinov3, test_page
from tests.parity.conftest import Golden, golden_files, parity_folder

NO_DROPS: dict[str, Any] = {"drop_path": 0, "inout_dropout": 0, "feature_dropout": 0}
STEPS = [g for prefix in ("", "dinov3_", "page_") for g in golden_files(f"gazelle_training_{prefix}step")]


@dataclass(frozen=True)
class Recipe:
    """What the recorded command means in our settings."""

    model: dict[str, Any]
    domain: Domain
    inout_weight: float
    optimizer: GazeOptimizerSettings
    schedule: GazeScheduleSettings
    distil: MapDistillation | None = None
    batches: int = 1
    """Steps of an epoch."""
    loaders: int = 2
    """Data loaders that are begun from the end of an epoch to the first step of the next: that of the test set, too."""


def argument(golden: Golden, name: str, default: str = "0") -> str:
    """The value of an argument of the recorded command."""
    words = golden.spec.get("arguments") or golden.spec["recipe"].split()
    return str(words[words.index(name) + 1]) if name in words else default


def recipe_of(golden: Golden) -> Recipe:
    if "_page_" in golden.name:
        schedule = GazeScheduleSettings(
            kind="page",
            warmup_steps=int(argument(golden, "--warmup_iters")),
            warmup_start_lr=float(argument(golden, "--warmup_start_lr")),
        )
        optimizer = GazeOptimizerSettings(
            name="adamw", lr=float(argument(golden, "--lr")), weight_decay=float(argument(golden, "--weight_decay"))
        )
        model: dict[str, Any] = {"trains": "decoder"}  # in eval mode
        if not golden.spec["towers_frozen"]:
            model = {"trains": "tower", "rope_rescale": RopeRescaleSettings(per="pass")}
        weight = golden.spec["inout_loss_lambda"]
        steps = re.search(r"(\d+) steps an epoch", golden.spec["batch"])
        return Recipe(model, "logits", weight, optimizer, schedule, batches=int(steps[1]) if steps else 1, loaders=1)
    vat = golden.spec["recipe"] == "train_vat"
    domain: Domain = "logits" if "_dinov3_" in golden.name else "probabilities"
    model = {} if vat else {"inout_head": "none"}
    if domain == "logits":
        model["rope_rescale"] = RopeRescaleSettings(per="block")  # upstream's frozen tower is in train mode
    if "--finetune" in golden.spec.get("arguments", []):
        model |= {
            "trains": "tower",
            "unfreeze": UnfreezeSettings(
                blocks=int(argument(golden, "--finetune_layers")),
                from_epoch=int(argument(golden, "--initial_freeze_epochs")),
                every_epochs=int(argument(golden, "--unfreeze_interval")),
            ),
        }
    clip = float(argument(golden, "--grad_clip_norm")) or None
    optimizer = GazeOptimizerSettings(lr=1e-5, inout_lr=1e-2, clip_norm=clip)
    if not vat:
        optimizer = GazeOptimizerSettings(lr=1e-3, tower_lr=1e-5, clip_norm=clip)
    distil = None
    if weight := float(argument(golden, "--distill_weight")):
        last = float(argument(golden, "--distill_temp_end"))
        distil = MapDistillation(kind="maps", teacher="recorded", weight=weight, last_temperature=last)
    return Recipe(
        model, domain, float(vat), optimizer, GazeScheduleSettings(kind="constant" if vat else "cosine"), distil
    )


def network_of(golden: Golden, folder: Path, **changes: Any) -> tuple[GazeNetwork, Golden]:
    """The recorded weights in a network, and the file that has the model and its images."""
    name = next(word for word in golden.spec["model"].replace(",", " ").replace(";", " ").split() if "tiny" in word)
    base = Golden(parity_folder() / f"{name}.json")
    module = {"gazelle_t": test_gazelle, "gazelle_d": test_gazelle_dinov3}.get(name[:9], test_page)
    config = module.config_of(base)
    if size := re.search(r"out_size \((\d+), (\d+)\)", golden.spec["model"]):
        config = config.model_copy(update={"out_size": (int(size[1]), int(size[2]))})
    path = folder / "recorded.safetensors"
    save_file({key: value.contiguous() for key, value in base.state_dict().items()}, path, config.to_metadata())
    settings = FinetuneModel(name=str(path), **{**recipe_of(golden).model, **NO_DROPS, **changes})
    return open_network(settings), base


def samples_of(golden: Golden) -> list[HeadSample]:
    """The heads of a recording that has its pictures."""
    owner = Golden(parity_folder() / "gazelle_training_page_step_base.json")
    samples = []
    for number, (box, point, inside) in enumerate(
        zip(golden.spec["boxes"], golden.spec["gaze_points"], golden.spec["inout"], strict=True)
    ):
        picture = owner.tensors[f"image{number}"].numpy()
        height, width = picture.shape[:2]
        pixels = tuple(value * side for value, side in zip(box, (width, height) * 2, strict=True))
        gaze = (point[0] * width, point[1] * height)
        samples.append(HeadSample(picture=picture, box_xyxy=pixels, gaze_xy=(gaze,), inside=inside == 1))
    return samples


def inputs_of(golden: Golden, network: GazeNetwork, base: Golden) -> list[NetworkInputs]:
    """The inputs of each step of an epoch."""
    boxes = [tuple(box) for box in golden.spec["boxes"]]
    if "_page_" in golden.name:
        whole = network.inputs(samples_of(golden))
        recorded = Golden(parity_folder() / "gazelle_training_page_step_base.json").tensors
        torch.testing.assert_close(whole.pictures, recorded["scene_inputs"], atol=1e-4, rtol=0)
        torch.testing.assert_close(whole.heads, recorded["head_inputs"], atol=1e-4, rtol=0)
        torch.testing.assert_close(whole.prompts, head_rects(boxes, network.config.grid))  # type: ignore[arg-type, union-attr]
        size = len(boxes) // recipe_of(golden).batches
        return [network.inputs(samples_of(golden)[start : start + size]) for start in range(0, len(boxes), size)]
    return [
        NetworkInputs(
            pictures=golden.tensors.get("images", base.tensors["images"]),
            picture_index=torch.tensor(golden.spec["batch_image_index"]),
            prompts=head_maps(boxes, network.config.grid),  # type: ignore[arg-type, union-attr]
        )
    ]


def in_file_names(network: GazeNetwork) -> dict[str, torch.Tensor]:
    return {canonical(key): value.detach() for key, value in network.tensors().items()}


def gradients_in_file_names(network: GazeNetwork) -> dict[str, torch.Tensor]:
    """Gradients by the names of the recorded tensors: those of a network whose weights are its gradients."""
    shadow = copy.deepcopy(network)
    for own, other in zip(network.parameters(), shadow.parameters(), strict=True):
        other.data = torch.zeros_like(own) if own.grad is None else own.grad.clone()
    return in_file_names(shadow)


def recorded_under(golden: Golden, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for key, value in golden.tensors.items():
        if key.startswith(prefix):
            yield canonical(key.removeprefix(prefix)), value


def relative_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float, name: str) -> None:
    difference = float((found.reshape(expected.shape) - expected).abs().max())
    assert difference <= tolerance * max(float(expected.abs().max()), 1e-30), (name, difference)


@dataclass
class Run:
    """A recording as it is repeated: the network, its optimizer, and what the recording says of it."""

    golden: Golden
    network: GazeNetwork
    inputs: list[NetworkInputs]
    recipe: Recipe

    def targets(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(self.golden.spec["boxes"]) // self.recipe.batches
        first = step % self.recipe.batches * count
        size, sigma = self.network.out_size, self.network.target_sigma
        points = self.golden.spec["gaze_points"][first : first + count]
        maps = [target_heatmap(x, y, height=size[0], width=size[1], sigma=sigma) for x, y in points]
        inside = torch.tensor(self.golden.spec["inout"][first : first + count], dtype=torch.bool)
        return torch.stack([torch.from_numpy(one) for one in maps]), inside

    def steps(self, after: Callable[[int, Any, torch.Tensor], None]) -> None:
        """Train as recorded; `after(number, loss, divergence)` sees gradients before they are clipped, then weights."""
        golden, network, recipe = self.golden, self.network, self.recipe
        optimizer = optimizer_for(network.learning(), recipe.optimizer)
        total = len(golden.spec["loss_of_step"])
        epochs = total // recipe.batches
        settings = GazeLossSettings(domain=recipe.domain, inout_weight=recipe.inout_weight)
        torch.manual_seed(0)  # as upstream's main does; the towers' positions are drawn from it
        for step in range(total):
            epoch, within = divmod(step, recipe.batches)
            if within == 0:
                for _ in range(1 if epoch == 0 else recipe.loaders):
                    torch.empty((), dtype=torch.int64).random_()  # a torch data loader draws a seed for its workers
                network.start_epoch(epoch)
            set_rates(optimizer, recipe.schedule, epoch=epoch, step_in_epoch=within, epochs=epochs)
            self.check_rates(optimizer, step)
            self.check_what_learns(optimizer, step)
            targets, inside = self.targets(step)
            answer = network(self.inputs[within], recipe.domain)
            answer.maps.retain_grad()
            if step == 0 and answer.inout is not None:
                answer.inout.retain_grad()
            loss = gaze_loss(answer, targets, inside, settings)
            divergence = torch.zeros(())
            if recipe.distil is not None:
                temperature = temperature_at(recipe.distil, step, total)
                assert temperature == pytest.approx(golden.spec["temperature_of_step"][step])
                teacher = golden.tensors["teacher.heatmap_logits_as_run"]
                divergence = recipe.distil.weight * map_divergence(answer.maps, teacher, temperature)
            optimizer.zero_grad()
            (loss.total + divergence).backward()
            if step == 0:
                self.check_first_gradients(answer)
            if recipe.optimizer.clip_norm is not None:
                learning = list(network.learning().values())
                norm = torch.nn.utils.clip_grad_norm_(learning, recipe.optimizer.clip_norm)
                assert norm.item() == pytest.approx(golden.spec["grad_norm_before_clip"][step], rel=1e-4)
            optimizer.step()
            after(step, loss, divergence)

    def check_rates(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        spec = self.golden.spec
        found = {group["lr"] for group in optimizer.param_groups}
        per_group = spec.get("lr_of_step_per_group") or spec.get("lr_of_epoch")
        expected = set(per_group[step]) if per_group else {spec["lr_of_step"][step]}
        assert sorted(found) == pytest.approx(sorted(expected & {*found} or expected), rel=1e-9)

    def check_what_learns(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """How many numbers train in this step, and how many decay, where the recording says so.

        Upstream has numbers that nothing reads, and ours has not: key biases of DINOv3's blocks in gazelle-dinov3
        (masked to zero), and the mask tokens of PaGE's towers.
        """
        spec, learning = self.golden.spec, self.network.learning().values()
        towers = [tower for tower in self.network.towers() if isinstance(tower, ImageTower)]
        if "trainable_parameters_of_step" in spec:
            found = sum(parameter.numel() for parameter in learning if parameter.requires_grad)
            blocks = [block for block in towers[0].blocks if any(p.requires_grad for p in block.parameters())]
            assert spec["trainable_parameters_of_step"][step] - found == len(blocks) * towers[0].shape.width
        for decay, _, numbers in spec["optimiser"].get("groups_weight_decay_tensors_numbers", []):
            groups = [group for group in optimizer.param_groups if group["weight_decay"] == decay]
            found = sum(parameter.numel() for group in groups for parameter in group["params"])
            masks = sum(tower.shape.width for tower in towers) if self.network.tower_learns and decay else 0
            assert numbers - found == masks

    def check_first_gradients(self, answer: Any) -> None:
        tensors, page = self.golden.tensors, "_page_" in self.golden.name
        loose = 1e-3 if page else 1e-4
        for name, value in (
            ("heatmap", answer.maps.grad),
            ("inout", None if answer.inout is None else answer.inout.grad),
        ):
            keys = (f"grad_{name}", f"grad.{name}_logits" if f"grad.{name}_logits" in tensors else f"grad.{name}")
            for key in keys:
                if key in tensors:
                    relative_close(value, tensors[key], 1e-4 if page else 1e-5, key)
        found = gradients_in_file_names(self.network)
        for name, norm in self.golden.spec["grad1_l2"].items():
            assert found[canonical(name)].norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-7), name
        for name, expected in recorded_under(self.golden, "grad1."):
            relative_close(found[name], expected, loose, name)


@pytest.mark.parametrize("golden", STEPS or [None], ids=lambda golden: getattr(golden, "name", "no_step_file"))
def test_steps(golden: Golden, tmp_path: Path) -> None:
    network, base = network_of(golden, tmp_path)
    run = Run(golden, network, inputs_of(golden, network, base), recipe_of(golden))
    before = in_file_names(copy.deepcopy(network))
    targets, inside = run.targets(0)
    torch.testing.assert_close(targets[inside], golden.tensors["targets"][: len(targets)][inside], atol=1e-6, rtol=0)
    loss_tolerance = 2e-5 if "_page_" in golden.name else 1e-5
    first_rate = max(max(group) for group in golden.spec.get("lr_of_epoch") or golden.spec.get("lr_of_step_per_group")
                     or [golden.spec["lr_of_step"]])  # fmt: skip
    gradients = {name: value.abs() for name, value in recorded_under(golden, "grad1.")}
    tolerance = {"after1": 1e-6, "later": 2e-6}  # as strict as the strictest recording; found: 2.4e-7 at most

    def after(step: int, loss: Any, divergence: torch.Tensor) -> None:
        parts = {"loss": loss.total + divergence, "heatmap_loss": loss.heatmap, "inout_loss": loss.inout}
        for name, part in {
            **parts,
            "distill_loss": divergence / (run.recipe.distil.weight if run.recipe.distil else 1),
        }.items():
            recorded = golden.spec.get(f"{name}_of_step")
            if recorded is not None and part is not None:
                assert part.item() == pytest.approx(recorded[step], abs=loss_tolerance), (name, step)
        found = in_file_names(network)
        for name, expected in recorded_under(golden, f"after{step + 1}."):
            difference = (found[name].reshape(expected.shape) - expected).abs()
            small = (
                gradients[name].reshape(expected.shape) < 1e-7
                if name in gradients
                else torch.zeros(1, dtype=torch.bool)
            )
            allowed = torch.where(small, 2 * first_rate * (step + 1), tolerance["after1" if step == 0 else "later"])
            assert bool((difference <= allowed).all()), (name, step, float(difference.max()))
        if step == 0:
            assert_changes(golden, before, found)

    run.steps(after)


def assert_changes(golden: Golden, before: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
    """What the first step changed, and that it left frozen tensors as they were."""
    for name, change in golden.spec["update_after_step1"].items():
        if (own := canonical(name)) not in found:
            assert own.endswith(("mask_token", "periods", "bias_mask")), own
            continue
        moved = float((found[own] - before[own]).abs().max())
        if change["delta_max"] == 0:
            assert moved == 0, own
        else:
            assert moved == pytest.approx(change["delta_max"], rel=0.02, abs=1e-7), own


@pytest.mark.parametrize("golden", STEPS or [None], ids=lambda golden: getattr(golden, "name", "no_step_file"))
def test_a_step_with_the_recorded_drops(golden: Golden, tmp_path: Path) -> None:
    if "drop" not in golden.spec:
        return
    recorded = golden.spec["drop"]
    chances = {"drop_path": recorded["drop_path"], "inout_dropout": recorded["inout_dropout"]}
    network, base = network_of(golden, tmp_path, **chances)
    run = Run(golden, network, inputs_of(golden, network, base), recipe_of(golden))
    rows = golden.tensors["drop.path_factors"]
    assert len(network.path_drops) == len(rows)  # type: ignore[arg-type]
    for drop, row in zip(network.path_drops, rows, strict=True):  # type: ignore[arg-type]
        drop.factors = lambda like, row=row: row.view(-1, *[1] * (like.ndim - 1))
    if "drop.inout_head_factors" in golden.tensors:
        network.inout_drop.factors = lambda like: golden.tensors["drop.inout_head_factors"]  # type: ignore[union-attr, method-assign]
    answer = network(run.inputs[0], run.recipe.domain)
    torch.testing.assert_close(answer.maps, golden.tensors["drop.heatmap"], atol=1e-5, rtol=0)
    if "drop.inout" in golden.tensors:
        torch.testing.assert_close(answer.inout, golden.tensors["drop.inout"], atol=1e-5, rtol=0)
    settings = GazeLossSettings(domain=run.recipe.domain, inout_weight=run.recipe.inout_weight)
    loss = gaze_loss(answer, *run.targets(0), settings)
    assert loss.total.item() == pytest.approx(recorded["loss"], abs=1e-5)
    loss.total.backward()
    found = gradients_in_file_names(network)
    for name, expected in recorded_under(golden, "drop.grad."):
        relative_close(found[name], expected, 1e-4, name)


def test_there_are_recordings_of_steps() -> None:
    assert STEPS
