"""Weights that do not train, held once for all predictors of a run that have equal ones."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class FrozenWeights:
    """The frozen parameters of a run's predictors, by name; predictors with equal ones hold the same objects.

    Equal means the same name, shape, type, device and bits. `Module.to` gives a parameter new data in place, so that
    shared ones stay shared on another device. Nothing here ever writes into a parameter that another module holds.
    """

    def __init__(self) -> None:
        self._held: dict[str, list[weakref.ref[nn.Parameter]]] = {}

    def share(self, module: nn.Module) -> None:
        """Replace every parameter of `module` that does not train by the equal one of an earlier module."""
        for name, parameter in list(module.named_parameters()):
            if parameter.requires_grad:
                continue
            known = [found for one in self._held.get(name, ()) if (found := one()) is not None]
            same = next((one for one in known if one is parameter or _equal(one, parameter)), None)
            if same is None:
                known.append(parameter)
            elif same is not parameter:
                _put(module, name, same)
            self._held[name] = [weakref.ref(one) for one in known]

    def load(self, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Load a state dict into `module` alone: a frozen weight of another value leaves those that it was shared with.

        Then it is shared with the modules that have loaded the same value.
        """
        for name, parameter in list(module.named_parameters()):
            if not parameter.requires_grad and name in weights and not _equal(parameter, weights[name].to(parameter)):
                _put(module, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
        module.load_state_dict(dict(weights))
        self.share(module)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors could change places: bits, so that -0.0 is not 0.0, and what is no number equals itself."""
    if (one.shape, one.dtype, one.device) != (other.shape, other.dtype, other.device):
        return False
    first, second = (values.detach().reshape(-1).view(torch.uint8) for values in (one, other))
    return torch.equal(first, second)


def _put(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    path, _, own = name.rpartition(".")
    module.get_submodule(path).register_parameter(own, parameter)
